"""The numbers of <curl/curl.h> and <curl/multi.h> that are used here, which are a part of libcurl's ABI.

curl_cffi has all of them, as enums, which take 4 ms to make; tests/transports/curl/test_numbers.py compares the two.
"""


class CurlOpt:
    """Options of an easy handle."""

    ACCEPT_ENCODING = 10102
    BUFFERSIZE = 98
    CAINFO = 10065
    CAINFO_BLOB = 40309
    CAPATH = 10097
    CONNECTTIMEOUT_MS = 156
    COPYPOSTFIELDS = 10165
    CUSTOMREQUEST = 10036
    DNS_CACHE_TIMEOUT = 92
    ERRORBUFFER = 10010
    FORBID_REUSE = 75
    FRESH_CONNECT = 74
    HEADERDATA = 10029
    HEADERFUNCTION = 20079
    HTTPGET = 80
    HTTPHEADER = 10023
    HTTP_CONTENT_DECODING = 158
    HTTP_TRANSFER_DECODING = 157
    HTTP_VERSION = 84
    NOBODY = 44
    NOPROXY = 10177
    NOSIGNAL = 99
    PATH_AS_IS = 234
    POST = 47
    POSTFIELDSIZE = 60
    PREREQDATA = 10313
    PREREQFUNCTION = 20312
    PROTOCOLS_STR = 10318
    PROXY = 10004
    PROXYPASSWORD = 10176
    PROXYUSERNAME = 10175
    PROXY_CAINFO = 10246
    PROXY_CAPATH = 10247
    QUICK_EXIT = 322
    SSL_SESSIONID_CACHE = 150
    SUPPRESS_CONNECT_HEADERS = 265
    UPLOAD_BUFFERSIZE = 280
    URL = 10002
    WRITEDATA = 10001
    WRITEFUNCTION = 20011


class CurlMOpt:
    """Options of a multi handle."""

    MAXCONNECTS = 6
    PIPELINING = 3
    QUICK_EXIT = 21
    RESOLVE_THREADS_MAX = 20
    SOCKETDATA = 10002
    SOCKETFUNCTION = 20001
    TIMERDATA = 10005
    TIMERFUNCTION = 20004


class CurlInfo:
    """Facts of a transfer that is over."""

    APPCONNECT_TIME_T = 6291512
    CONNECT_TIME_T = 6291508
    HTTP_CONNECTCODE = 2097174
    OS_ERRNO = 2097177
    POSTTRANSFER_TIME_T = 6291523
    PRETRANSFER_TIME_T = 6291509
    PROXY_SSL_VERIFYRESULT = 2097199
    SSL_VERIFYRESULT = 2097165
    USED_PROXY = 2097218


class CurlHttpVersion:
    """Values of CurlOpt.HTTP_VERSION."""

    V1_1 = 2
    V2TLS = 4
    V2_PRIOR_KNOWLEDGE = 5


NEWEST = {
    "chrome": "chrome150",
    "edge": "edge101",
    "safari": "safari2601",
    "safari_ios": "safari260_ios",
    "safari_beta": "safari2601",
    "safari_ios_beta": "safari260_ios",
    "chrome_android": "chrome131_android",
    "firefox": "firefox147",
    "tor": "tor145",
}
"""The browsers' newest versions that the newest curl_cffi knows, by their names without one."""
