"""The kinds of invented things: what is measured on each, in which range, how it is made and what it is for.

In the texts, `<a|b>` is a choice, `#2-9/1#` a random whole number from 2 to 9 in steps of 1 (see `prose.Voice`).
"""

from dataclasses import dataclass

ARCHIMEDES = ("Archimedes weighing", "a helium pycnometer")
CALORIMETER = ("differential scanning calorimetry", "a drop calorimeter")
DIFFRACTION = ("powder X-ray diffraction", "a four-circle diffractometer")
TENSILE = ("tensile testing", "a screw-driven test frame")
FLASH = ("the laser flash method", "a guarded hot plate")
ULTRASOUND = ("the pulse-echo method", "resonant ultrasound")


@dataclass(frozen=True)
class Property:
    """A quantity: values lie in `low`..`high`, printed with `places` decimals."""

    name: str
    unit: str
    low: float
    high: float
    places: int
    methods: tuple[str, ...]


@dataclass(frozen=True)
class Kind:
    """A class of things. `needs` are the properties that its law (see `laws`) computes with."""

    noun: str
    plural: str
    name: str
    field: str
    law: str
    needs: tuple[str, ...]
    properties: tuple[Property, ...]
    forms: tuple[str, ...]
    uses: tuple[str, ...]
    steps: tuple[str, ...]


DENSITY = "g/cm³"
KINDS = (
    Kind(
        "alloy", "alloys", "{root}-{n}", "metallurgy", "hall-petch", ("yield strength",),
        (
            Property("density", DENSITY, 3.1, 9.8, 2, ARCHIMEDES),
            Property("melting point", "°C", 610, 1690, 0, CALORIMETER),
            Property("yield strength", "MPa", 140, 980, 0, TENSILE),
            Property("elastic modulus", "GPa", 48, 240, 0, ULTRASOUND),
            Property("thermal conductivity", "W/(m K)", 12, 190, 0, FLASH),
            Property("lattice constant", "nm", 0.281, 0.449, 3, DIFFRACTION),
            Property("fatigue limit", "MPa", 60, 420, 0, ("rotating-beam testing", "a servo-hydraulic frame")),
        ),
        ("grey ingots", "bright wire", "thin rolled sheet", "coarse granules"),
        ("springs that stay stiff when hot", "light frames", "cold fasteners", "bellows and membranes"),
        (
            "The charge was melted in an induction furnace and held for #10-60/5# minutes <under argon|in vacuum>.",
            "The melt was cast into a copper mould and cooled at #2-40/2# K per second.",
            "<Ingots were|Each ingot was> rolled to #40-80/5# % of the first thickness.",
            "A last anneal of #2-24/1# hours <took out|removed> the strain of rolling.",
        ),
    ),
    Kind(
        "mineral", "minerals", "{root}ite", "mineralogy", "bragg", ("lattice constant",),
        (
            Property("density", DENSITY, 2.1, 7.4, 2, ARCHIMEDES),
            Property("Vickers hardness", "GPa", 1.2, 18.9, 1, ("micro-indentation", "a diamond pyramid")),
            Property("lattice constant", "nm", 0.381, 0.949, 3, DIFFRACTION),
            Property("refractive index", "", 1.41, 2.39, 2, ("the immersion method", "a prism refractometer")),
            Property("decomposition temperature", "°C", 310, 1290, 0, ("thermogravimetry", "a heated-stage microscope")),
            Property("solubility in water", "mg/L", 2, 480, 0, ("inductively coupled plasma analysis", "evaporation and weighing")),
            Property("bulk modulus", "GPa", 22, 260, 0, ULTRASOUND),
        ),
        ("green prisms", "colourless plates", "brown needles", "pale blue crusts"),
        ("pigments", "ion exchange", "standards for thin sections", "polishing powders"),
        (
            "Crystals grew in a sealed autoclave over #3-30/1# days.",
            "The solution was kept at pH #4-11/1# and stirred <slowly|gently>.",
            "<Seeds|Small seeds> of #100-500/20# µm hung on a platinum wire.",
            "The harvest was washed with cold water, dried and sieved to #20-90/5# µm.",
        ),
    ),
    Kind(
        "semiconductor", "semiconductors", "{root}-S{n}", "solid-state physics", "band-edge", ("band gap",),
        (
            Property("band gap", "eV", 0.62, 3.48, 2, ("optical absorption", "a photoconductivity bench")),
            Property("lattice constant", "nm", 0.421, 0.689, 3, DIFFRACTION),
            Property("electron mobility", "cm²/(V s)", 110, 8900, 0, ("the Hall effect", "time-of-flight measurement")),
            Property("dielectric constant", "", 5.1, 17.9, 1, ("capacitance bridges", "an impedance analyser")),
            Property("carrier lifetime", "ns", 3, 940, 0, ("microwave decay", "time-resolved luminescence")),
            Property("thermal conductivity", "W/(m K)", 8, 210, 0, FLASH),
            Property("melting point", "°C", 540, 1840, 0, CALORIMETER),
        ),
        ("dark wafers", "epitaxial films", "red boules", "mirror-like plates"),
        ("infrared windows", "light-emitting diodes", "radiation-hard switches", "thin solar cells"),
        (
            "Films were grown by vapour transport at #420-880/20# °C <on sapphire|on a cleaved substrate>.",
            "The growth rate was #1-9/1# µm per hour and was watched with a reflectometer.",
            "<Dopant|The dopant> was kept below #2-9/1# parts per million.",
            "Contacts of gold were evaporated through a mask and alloyed for #1-9/1# minutes.",
        ),
    ),
    Kind(
        "ceramic", "ceramics", "{root}-C{n}", "ceramics", "expansion", ("thermal expansion coefficient",),
        (
            Property("density", DENSITY, 2.4, 6.9, 2, ARCHIMEDES),
            Property("melting point", "°C", 1620, 2980, 0, ("a solar furnace", "optical pyrometry")),
            Property("fracture toughness", "MPa m½", 1.4, 9.9, 1, ("notched-beam bending", "crack length at indents")),
            Property("thermal expansion coefficient", "ppm/K", 2.1, 12.9, 1, ("a push-rod dilatometer", "laser interferometry")),
            Property("thermal conductivity", "W/(m K)", 1.4, 88.0, 1, FLASH),
            Property("elastic modulus", "GPa", 120, 460, 0, ULTRASOUND),
            Property("open porosity", "%", 0.4, 18.9, 1, ("mercury intrusion", "water uptake")),
        ),
        ("white tiles", "ivory rods", "dense black discs", "translucent tubes"),
        ("furnace linings", "cutting inserts", "insulating posts", "hot gas filters"),
        (
            "Powder was milled in alcohol for #6-48/2# hours with zirconia balls.",
            "Green bodies were pressed at #80-300/20# MPa <from both sides|in a rubber bag>.",
            "Sintering took #1-12/1# hours <in still air|in flowing nitrogen>.",
            "Faces were ground flat to #1-9/1# µm before any test.",
        ),
    ),
    Kind(
        "polymer", "polymers", "Poly-{low}", "polymer science", "flory-fox", ("glass transition temperature",),
        (
            Property("glass transition temperature", "°C", 12, 212, 0, CALORIMETER),
            Property("density", DENSITY, 0.86, 1.64, 2, ("a density gradient column", "flotation")),
            Property("molar mass", "kg/mol", 18, 490, 0, ("size exclusion chromatography", "light scattering")),
            Property("tensile strength", "MPa", 12, 118, 0, TENSILE),
            Property("water uptake", "%", 0.1, 6.9, 1, ("weighing after immersion", "a vapour sorption balance")),
            Property("melt viscosity", "Pa s", 90, 4900, 0, ("a capillary rheometer", "parallel-plate rheometry")),
            Property("elongation at break", "%", 4, 640, 0, ("a video extensometer", "a cross-head gauge")),
        ),
        ("clear pellets", "milky film", "amber fibres", "soft foam"),
        ("flexible tubing", "lens blanks", "cable jackets", "membranes for gas separation"),
        (
            "The monomer was distilled and polymerised at #20-120/10# °C <with|using> a borate initiator.",
            "Conversion reached #82-99/1# % after #2-36/2# hours.",
            "The product was precipitated into methanol, filtered and dried <under vacuum|in a desiccator>.",
            "Bars were moulded at #2-12/1# MPa and stored dry for #2-14/1# days.",
        ),
    ),
    Kind(
        "catalyst", "catalysts", "{root} K{n}", "physical chemistry", "arrhenius", ("activation energy",),
        (
            Property("activation energy", "kJ/mol", 22, 148, 0, ("a plug-flow reactor", "temperature-programmed runs")),
            Property("surface area", "m²/g", 18, 940, 0, ("nitrogen adsorption", "krypton adsorption")),
            Property("pore diameter", "nm", 0.6, 28.9, 1, ("desorption isotherms", "electron microscopy")),
            Property("turnover frequency", "1/s", 0.4, 48.0, 1, ("gas chromatography", "pulse titration")),
            Property("selectivity", "%", 51, 99, 0, ("gas chromatography", "mass spectrometry")),
            Property("metal loading", "%", 0.2, 7.9, 1, ("X-ray fluorescence", "wet chemical analysis")),
            Property("service life", "h", 120, 8900, 0, ("a long run on stream", "an ageing bench")),
        ),
        ("black pellets", "a fine rust-red powder", "coated honeycombs", "hollow spheres"),
        ("exhaust cleaning", "ester synthesis", "splitting of hydrazine", "hydrogen storage cycles"),
        (
            "The support was soaked in the salt solution for #2-20/1# hours and dried at #80-140/10# °C.",
            "Calcination in air lasted #2-10/1# hours.",
            "The metal was reduced in hydrogen with a ramp of #1-10/1# K per minute.",
            "Tests used #50-500/50# mg <diluted in quartz sand|in a glass tube>.",
        ),
    ),
    Kind(
        "dye", "dyes", "{root} blue", "photochemistry", "beer-lambert", ("molar absorptivity",),
        (
            Property("absorption maximum", "nm", 562, 712, 0, ("a double-beam spectrometer", "diode-array spectroscopy")),
            Property("molar absorptivity", "L/(mol cm)", 8200, 98000, 0, ("a dilution series", "calibrated cells")),
            Property("fluorescence lifetime", "ns", 0.4, 18.9, 1, ("single-photon counting", "a streak camera")),
            Property("quantum yield", "%", 4, 97, 0, ("an integrating sphere", "comparison with a standard")),
            Property("acid constant pKa", "", 3.1, 10.9, 1, ("spectrometric titration", "capillary electrophoresis")),
            Property("molar mass", "kg/mol", 0.262, 0.891, 3, ("mass spectrometry", "freezing point depression")),
            Property("bleaching half-time", "min", 3, 240, 0, ("a xenon lamp test", "a laser exposure bench")),
        ),
        ("bronze crystals", "a violet powder", "a deep blue solution", "copper-coloured flakes"),
        ("staining of thin sections", "dye lasers", "oxygen sensors", "ink that fades on purpose"),
        (
            "The dye was made by condensation in butanol under reflux for #2-18/1# hours.",
            "It was purified on alumina and recrystallised #2-5/1# times.",
            "Solutions of #1-40/1# µmol/L were kept in the dark.",
            "Cells of #1-5/1# cm were used and <cleaned|rinsed> with nitric acid.",
        ),
    ),
    Kind(
        "tracer", "tracers", "{root}-{mass}", "nuclear chemistry", "decay", ("half-life",),
        (
            Property("half-life", "h", 1.4, 98.0, 1, ("a well counter", "an ionisation chamber")),
            Property("gamma energy", "keV", 61, 1480, 0, ("germanium spectrometry", "a scintillation detector")),
            Property("specific activity", "MBq/mg", 12, 940, 0, ("weighing and counting", "isotope dilution")),
            Property("branching fraction", "%", 12, 99, 0, ("coincidence counting", "germanium spectrometry")),
            Property("production yield", "MBq/(µA h)", 4, 380, 0, ("stacked-foil irradiation", "thick-target runs")),
            Property("radiochemical purity", "%", 91.0, 99.9, 1, ("paper chromatography", "thin-layer chromatography")),
            Property("neutron capture cross section", "b", 0.6, 88.0, 1, ("a reactor pile oscillator", "activation analysis")),
        ),
        ("a chloride solution", "an oxide foil", "a sealed glass source", "loaded resin beads"),
        ("flow studies in pipes", "wear tests", "leak detection", "soil water studies"),
        (
            "Targets were irradiated for #1-12/1# hours at #10-60/5# µA.",
            "The tracer was eluted with dilute acid in #2-9/1# fractions.",
            "Chemical separation <lasted|took> #20-90/5# minutes.",
            "Counting began #10-50/5# minutes after the end of irradiation.",
        ),
    ),
    Kind(
        "electrolyte", "electrolytes", "{root} E{n}", "electrochemistry", "conduction",
        ("activation energy", "ionic conductivity"),
        (
            Property("ionic conductivity", "mS/cm", 0.21, 18.9, 2, ("impedance spectroscopy", "a two-electrode cell")),
            Property("activation energy", "kJ/mol", 8, 58, 0, ("conductivity from 260 K to 360 K", "a heated cell")),
            Property("viscosity", "mPa s", 1.2, 94.0, 1, ("a rolling-ball viscometer", "a cone and plate")),
            Property("density", DENSITY, 0.94, 1.92, 2, ("an oscillating tube", "a glass pycnometer")),
            Property("transference number", "", 0.21, 0.79, 2, ("steady-state polarisation", "pulsed gradient resonance")),
            Property("flash point", "°C", 38, 290, 0, ("a closed cup", "a small-scale flash tester")),
            Property("oxidation potential", "V", 3.6, 5.9, 1, ("linear sweep voltammetry", "slow cyclic voltammetry")),
        ),
        ("a clear liquid", "a soft gel", "a yellow oil", "a glassy film"),
        ("flat batteries", "slow capacitors", "cold-weather cells", "electrochromic windows"),
        (
            "Salt and solvent were dried over molecular sieves for #1-9/1# days.",
            "Mixing took place in a glove box with less than #1-9/1# ppm of water.",
            "Cells had polished steel electrodes #1-9/1# mm apart.",
            "The temperature was held for #20-90/10# minutes before each spectrum.",
        ),
    ),
    Kind(
        "buffer", "buffers", "{root} B{n}", "analytical chemistry", "henderson", ("acid constant pKa",),
        (
            Property("acid constant pKa", "", 3.6, 10.4, 1, ("glass electrode titration", "spectrometric titration")),
            Property("optimum pH", "", 3.8, 10.6, 1, ("a glass electrode", "indicator strips and a meter")),
            Property("buffer capacity", "mmol/L", 8, 190, 0, ("stepwise titration", "a flow titrator")),
            Property("ionic strength", "mmol/L", 12, 480, 0, ("conductometry", "ion chromatography")),
            Property("temperature coefficient", "mK⁻¹", 0.4, 28.0, 1, ("a thermostatted cell", "runs at five temperatures")),
            Property("freezing point depression", "K", 0.11, 1.98, 2, ("a freezing point osmometer", "a Beckmann thermometer")),
            Property("shelf life", "d", 20, 720, 0, ("storage at 25 °C", "accelerated storage")),
        ),
        ("colourless solutions", "tablets", "frozen portions", "concentrated stock"),
        ("enzyme assays", "calibration of electrodes", "washing of membranes", "gel electrophoresis"),
        (
            "The acid was dissolved in <boiled|degassed> water and titrated with #1-9/1#0 mmol/L of base.",
            "Each batch held #2-20/1# litres and was passed through a filter of 0.2 µm.",
            "Electrodes were calibrated at #2-5/1# points every morning.",
            "Bottles were flushed with nitrogen and closed for #1-20/1# hours.",
        ),
    ),
    Kind(
        "magnet", "magnets", "{root} M{n}", "magnetism", "curie-weiss", ("Curie temperature",),
        (
            Property("Curie temperature", "K", 118, 1090, 0, ("a vibrating-sample magnetometer", "a Faraday balance")),
            Property("coercivity", "kA/m", 2, 980, 0, ("hysteresis loops", "a pulsed-field bench")),
            Property("remanence", "T", 0.11, 1.48, 2, ("hysteresis loops", "a pull coil")),
            Property("density", DENSITY, 4.2, 8.9, 2, ARCHIMEDES),
            Property("electrical resistivity", "µΩ m", 0.2, 88.0, 1, ("four-point probing", "eddy-current decay")),
            Property("lattice constant", "nm", 0.351, 0.889, 3, DIFFRACTION),
            Property("energy product", "kJ/m³", 8, 390, 0, ("hysteresis loops", "a closed magnetic circuit")),
        ),
        ("bonded rings", "sintered blocks", "melt-spun ribbon", "fine dark powder"),
        ("quiet motors", "field sensors", "magnetic couplings", "cooling by demagnetisation"),
        (
            "Ribbon was spun from the melt on a wheel at #10-50/2# m per second.",
            "It was crushed below #5-80/5# µm and aligned in #1-9/1# T.",
            "Pressing and sintering lasted #2-12/1# hours in all.",
            "Spheres of #2-8/1# mm were ground for the magnetometer.",
        ),
    ),
    Kind(
        "detector", "detectors", "{root} D{n}", "instrumentation", "dead-time", ("dead time",),
        (
            Property("dead time", "µs", 0.6, 48.0, 1, ("the two-source method", "a pulse generator")),
            Property("energy resolution", "keV", 0.2, 9.8, 1, ("a calibration source", "a pulser peak")),
            Property("quantum efficiency", "%", 11, 96, 0, ("a calibrated lamp", "comparison with a photodiode")),
            Property("dark count rate", "1/s", 2, 890, 0, ("counting in the dark", "a shuttered run")),
            Property("operating temperature", "K", 4, 295, 0, ("a silicon diode thermometer", "a platinum resistor")),
            Property("bias voltage", "V", 24, 2900, 0, ("a plateau curve", "a precision divider")),
            Property("active area", "mm²", 4, 940, 0, ("a scanning pencil beam", "optical microscopy")),
        ),
        ("small sealed modules", "arrays of sixteen pixels", "a cooled head", "a hand-held probe"),
        ("low-level counting", "slow neutron imaging", "beam monitors", "borehole logging"),
        (
            "Wafers were bonded to the readout with indium bumps of #10-60/5# µm.",
            "The head was evacuated for #2-40/2# hours and cooled at #1-9/1# K per minute.",
            "Pulses were shaped with a time constant of #1-12/1# µs.",
            "Each unit ran for #1-9/1# days before its calibration.",
        ),
    ),
    Kind(
        "enzyme", "enzymes", "{root}ase", "biochemistry", "michaelis", ("Michaelis constant", "turnover number"),
        (
            Property("Michaelis constant", "µmol/L", 4, 940, 0, ("initial-rate assays", "a stopped-flow bench")),
            Property("turnover number", "1/s", 2, 980, 0, ("initial-rate assays", "active-site titration")),
            Property("optimum pH", "", 3.9, 10.2, 1, ("assays in eight buffers", "a pH-stat")),
            Property("optimum temperature", "°C", 22, 88, 0, ("assays in a water bath", "a gradient block")),
            Property("molar mass", "kg/mol", 14, 290, 0, ("size exclusion chromatography", "gel electrophoresis")),
            Property("isoelectric point", "", 3.8, 9.9, 1, ("isoelectric focusing", "capillary electrophoresis")),
            Property("thermal half-life", "min", 4, 880, 0, ("timed heating", "a thermal shift assay")),
        ),
        ("freeze-dried powder", "clear solution", "beads that carry it", "thin crystals"),
        ("clearing of fruit juice", "test strips", "soft cleaning", "synthesis of sugars"),
        (
            "Cells of the host were grown for #6-40/2# hours and broken in a French press.",
            "The extract was loaded on an exchange column and eluted with #50-500/50# mmol/L of salt.",
            "A gel filtration step <gave|left> a single band.",
            "Protein was stored at #2-9/1# mg/mL <on ice|with glycerol>.",
        ),
    ),
    Kind(
        "stone", "stones", "{root}lith", "geoscience", "darcy", ("permeability",),
        (
            Property("permeability", "mD", 0.4, 890.0, 1, ("a gas permeameter", "a steady-flow core holder")),
            Property("porosity", "%", 1.2, 34.9, 1, ("helium expansion", "mercury intrusion")),
            Property("density", DENSITY, 1.71, 3.28, 2, ARCHIMEDES),
            Property("seismic velocity", "m/s", 1900, 6800, 0, ("ultrasonic transmission", "a resonant bar")),
            Property("compressive strength", "MPa", 11, 280, 0, ("uniaxial loading", "a triaxial cell")),
            Property("thermal conductivity", "W/(m K)", 0.7, 6.4, 1, ("a needle probe", "a divided bar")),
            Property("magnetic susceptibility", "ppm", 2, 890, 0, ("a susceptibility bridge", "an alternating-field coil")),
        ),
        ("cast blocks", "drilled cores", "crushed gravel", "thin slabs"),
        ("tests of pumps and filters", "calibration of logging tools", "model dams", "heat storage"),
        (
            "Sand and binder were mixed for #5-50/5# minutes and cast in layers of #2-20/1# mm.",
            "Blocks were cured for #7-56/7# days <under water|in damp sand>.",
            "Cores of #20-60/5# mm were drilled along and across the layers.",
            "Each core was dried at #50-110/10# °C until its weight was steady.",
        ),
    ),
)  # fmt: skip
