"""Stage 6: from the tables of the score and train stages to HTML, JSON and TSV; needs no scan and no network.

`write.study_pages` is the place to start: its table names, for each page, the object that it shows and its template.
"""
