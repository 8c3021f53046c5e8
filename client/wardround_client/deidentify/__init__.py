"""De-identification by rebuild: a new image of what an allow-list lets through, and nothing else.

Whatever a person sees, or leaves the archive's own folder, is built anew: new dataset, new file
meta, new preamble, pixels decoded and stored again. Nothing of the original is copied as bytes.
Each allowed element has a rule (`wardround_client.deidentify.allowed`): numbers are read, held
against a range and written again; words must be on a list; UIDs and the patient become keyed
hashes; codes must be known, and get their meaning from the standard's dictionary. What a rule
refuses stays empty.

Threat stopped: identifiers in any element, known or not, private or nested, in wrong types or
character sets; in comments, descriptions, dates, file meta, preamble, overlays, unused bits,
padding, bytes after the end, colour profiles, codestreams and paths. Whoever holds several
rebuilt images learns which belong to one patient, imaging study and series, and no more; without
the site's secret nobody finds the original UIDs by trying all record numbers.

Threat not stopped: what the pixels show. Text burned into an image is refused only where the
header admits it or the kind of image is known for it (screenshots, ultrasound). A face can be
rebuilt from a CT or MR of the head. Decimals are cut to what a viewer needs, but whoever writes the
original can still hide up to eight digits in each number of a position (metres to a ten-thousandth
of a millimetre), six in a count or a rescale factor, seven in a window's centre, and a few bits in
every choice of a word.
Whoever has the same image in another archive recognises its pixels.

Dates and times: none is kept, not even shifted; where a viewer may demand one, it is a constant.
Age is rounded down to five years, and 90 from there on.
"""
