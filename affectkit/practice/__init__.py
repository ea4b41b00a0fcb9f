"""Small synthetic sets in the layouts of real data sets, to practise a whole system on.

One photograph, one person, drawn expressions and a synthesised voice: they exercise readers, stages and writers, and
say nothing about recognising anybody's emotion.
"""
