"""Aerial and satellite images."""

from __future__ import annotations

from masksift.prepare.ingest.class_tables import parse

ISPRS = parse("""
    impervious surfaces=255 255 255; building=0 0 255; low vegetation=0 255 255; tree=0 255 0; car=255 255 0;
    clutter=255 0 0
""")
"""The six classes and colors of the ISPRS benchmarks of Potsdam and Vaihingen; black is no label."""

LOVEDA = parse("""
    background=255 255 255; building=255 0 0; road=255 255 0; water=0 0 255; barren=159 129 183; forest=0 255 0;
    agricultural=255 195 128
""")
"""The seven classes of LoveDA, whose labels count from 1, with the colors of mmsegmentation."""

ISAID = parse("""
    background=0 0 0; ship=0 0 63; storage_tank=0 63 63; baseball_diamond=0 63 0; tennis_court=0 63 127;
    basketball_court=0 63 191; Ground_Track_Field=0 63 255; Bridge=0 127 63; Large_Vehicle=0 127 127;
    Small_Vehicle=0 0 127; Helicopter=0 0 191; Swimming_pool=0 0 255; Roundabout=0 191 127; Soccer_ball_field=0 127 191;
    plane=0 127 255; Harbor=0 100 155
""")
"""Background, which the kit of iSAID calls unlabeled, and its 15 classes with their colors (helpers/labels.py)."""

FLOODNET = parse("""
    background=0 0 0; building-flooded=255 0 0; building-non-flooded=180 120 120; road-flooded=160 150 20;
    road-non-flooded=140 140 140; water=61 230 250; tree=0 82 255; vehicle=255 0 245; pool=255 235 0; grass=4 250 7
""")
"""The ten classes of FloodNet, with the colors by which public readers of its color masks decode them."""
