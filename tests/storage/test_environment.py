import pytest

from fanout.storage.environment import child_environment

SECRETS = {
    "OPENAI_API_KEY": "canary",
    "HF_TOKEN": "canary",
    "FANOUT_HUGGINGCHAT_COOKIE": "canary",
    "AWS_SECRET_ACCESS_KEY": "canary",
    "NAMED_BY_KEY_ENV": "canary",
    "LLAMA_API_KEY": "canary",
    "PYTHON_KEYRING_PASSWORD": "canary",
    "XDG_TOKEN": "canary",
    "LC_GITLAB": "canary",
    "DATABASE_URL": "postgres://user:canary@host/",
}


@pytest.mark.parametrize("installer", [False, True])
def test_no_key_login_or_token_is_passed_on(installer: bool) -> None:
    given = {**SECRETS, "PATH": "/bin", "HOME": "/home/me", "LC_ALL": "C", "LOGNAME": "me", "CUDA_VISIBLE_DEVICES": "0"}
    passed = child_environment(given, installer=installer)
    assert passed == {name: value for name, value in given.items() if name not in SECRETS}


def test_a_proxy_is_passed_on_without_its_password_and_to_an_installer_with_it() -> None:
    given = {
        "https_proxy": "http://me:canary@proxy:3128",
        "HTTP_PROXY": "me:canary@proxy:3128",
        "no_proxy": "a,b",
        "PIP_INDEX_URL": "https://me:canary@index/simple",
    }
    plain = {"https_proxy": "http://proxy:3128", "HTTP_PROXY": "proxy:3128", "no_proxy": "a,b"}
    assert child_environment(given) == plain
    assert child_environment(given, installer=True) == given
