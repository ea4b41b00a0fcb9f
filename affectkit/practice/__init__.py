"""Small synthetic sets in the layouts of real data sets, to practise a whole system on."""
