"""Tests of the documents; `kinds` declares the kinds that they are written in."""
