"""Charts: data in, SVG text out, a chart a file; none reads a record, a clock or a file.

The outermost element of a chart is its plotting area. It is as wide as the page lets it be and as high as the chart
says: across, positions are shares of the width, down, they are pixels, so that letters have one size on every screen.
What is outside the axes overflows into a margin that page.css keeps free. Colours come from there too, by class.
"""
