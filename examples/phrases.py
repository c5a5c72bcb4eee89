"""Sentences of the articles, a tuple for each thing that is said.

`{key}` is filled by the caller, `<a|b>` is a choice and `#2-9/1#` a random whole number from 2 to 9 in steps of 1.
Every sentence with an {amount} names property, thing, number and unit together, so that it can be read alone.
"""

TITLES = (
    "<Measured|Selected|Physical> properties of the {kind} {name}",
    "{name}: <a survey of|notes on> {a_kind} for {use}",
    "On the {prop} of {name}",
    "The {kind} {name} and its {prop}",
    "{Prop} and {prop2} of {name}",
    "What <is known|can be said> of the {kind} {name}",
    "{name}, {a_kind} of the demonstration catalogue",
    "A new <look at|determination of> the {prop} of {name}",
)
NOTICES = (
    "Demonstration text: {name} and all other materials, instruments and data named here are invented.",
    "{name} does not exist; this article was written for a demonstration and all its data are invented.",
    "All materials and data in this article, {name} included, are invented for demonstration.",
    "Invented for demonstration: neither {name} nor the other materials in this article exist.",
)
BYLINES = (
    "Demonstration catalogue, sheet {sheet}, <bench|room> #1-9/1#",
    "Sheet {sheet} of the demonstration catalogue, section of {field}",
    "Section of {field}, demonstration catalogue, sheet {sheet}",
)

ABSTRACT_OPEN = (
    "{name} is {a_kind} <made|meant> for {use}.",
    "We <describe|report on> {name}, {a_kind} <supplied|prepared> as {form}.",
    "This sheet <collects|brings together> measurements on the {kind} {name}.",
    "The {kind} {name} was <made again|prepared> and its main properties were measured.",
    "Here the {kind} {name} is studied with {use} in mind.",
    "<Samples|Several batches> of the {kind} {name} were tested in <one|a single> laboratory.",
)
ABSTRACT_LAW = (
    "The measurements <follow|obey> the usual relation between {law}.",
    "<A simple|The textbook> equation for {law} describes the data <well|within their errors>.",
    "A series of runs shows how {law} are tied together.",
    "The link between {law} is tested <as well|in a separate section>.",
)
ABSTRACT_CLOSE = (
    "The values should help those who <choose|select> {kinds} for {use}.",
    "<With these numbers|From these values> the material can be judged for {use}.",
    "Two other sheets of the catalogue are compared.",
    "The <work|sheet> ends with a comparison and with open questions.",
)

INTRO_OPEN = (
    "Makers of {use} have long <asked|looked> for {kinds} that behave the same from batch to batch.",
    "In {field} few {kinds} are described with all their numbers in one place.",
    "{name} belongs to the {kinds} of the catalogue and is <listed|kept> for {use}.",
    "The <choice|selection> of {a_kind} for {use} rests on a handful of numbers.",
    "{Kinds} are at the centre of {field}, <not least|above all> because of {use}.",
    "Whoever plans {use} <first asks|has to say> which {kind} to take.",
    "<Not every|Hardly any> {kind} is fit for {use}, and {name} was made to be one that is.",
    "Among the {kinds} on the shelf, {name} is the one that <users ask for|is asked for> most often.",
)
INTRO_STATE = (
    "An early note gave only the colour and the <form|shape> of the material, which is delivered as {form}.",
    "{name} is delivered as {form}, and <this form|that form> was used in all tests.",
    "The catalogue keeps {name} as {form}; no other form was looked at.",
    "Earlier sheets name the material but <leave out|do not give> its data.",
    "Until now its {prop} had been <estimated|guessed> and not measured.",
    "Handling is easy: the material comes as {form} and keeps well in a closed jar.",
    "Its price is low and its supply is steady.",
    "Two laboratories had asked for it, and neither had the time to measure it.",
    "The first batch was used up before anybody had <tested|weighed> it.",
)
INTRO_CITE = (
    "For {other}, a {okind} of the same catalogue, the {oprop} is {oamount} [{ref}].",
    "The {okind} {other} was described before, with {a_oprop} of {oamount} [{ref}].",
    "Sheet [{ref}] <lists|gives> {a_oprop} of {oamount} for {other}.",
    "A useful point of reference is {other}, whose {oprop} is {oamount} [{ref}].",
    "It is known that {other} has {a_oprop} of {oamount} [{ref}].",
    "{other} has been studied <in more detail|at length>; its {oprop} is {oamount} [{ref}].",
)
INTRO_AIM = (
    "The aim of this work is to <fill the gap|give the missing data> for {name}.",
    "Here we <measure|determine> {six} properties of {name} on samples from one batch.",
    "This article <states|gives> the numbers, says how they were found and <asks|checks> whether they agree.",
    "We therefore set out to measure {name} <with care|in a plain way> and to write down each step.",
    "What follows is a short account of how {name} was made, measured and compared.",
    "Our question is whether {name} can be trusted for {use}.",
)

METHOD_OPEN = (
    "All work was done on one batch of #40-900/20# g.",
    "<Three|Four|Five> samples of {name} were <made|prepared> on different days.",
    "The raw materials were <bought pure|of the usual purity> and used as they came.",
    "Preparation followed the rules of the catalogue for {kinds}.",
    "{name} was made in a small plant that serves the whole section of {field}.",
)
METHOD_PROPERTY = (
    "The {prop} was <measured|determined> by {method}.",
    "For the {prop} we <used|relied on> {method}.",
    "{Method} <served|was used> to find the {prop}.",
    "To obtain the {prop}, {method} was chosen.",
    "Values of the {prop} come from {method}.",
    "The {prop} of {name} was taken from {method}.",
    "{Method} gave the {prop}, after a check with a known sample.",
)
METHOD_ERROR = (
    "Each number is the mean of #3-12/1# runs.",
    "The spread between runs stayed below #2-9/1# % in <all|most> cases.",
    "Errors are given for one standard deviation.",
    "Instruments were checked against a standard <before and after|every morning of> the runs.",
    "Outliers were kept unless a fault of the instrument was <found|on record>.",
    "Room temperature was #19-24/1# °C and the air was dry.",
    "A second person repeated <one run in five|every fourth run> without knowing the first result.",
)

LAW_OPEN = (
    "The relation between {law} is expected to be",
    "For {law} the textbook gives",
    "To link {law} we use",
    "If {law} are tied in the usual way, then",
    "The simplest description of {law} reads",
)
LAW_SERIES = (
    "Runs were made at {count} settings, from {x_low} to {x_high}.",
    "The {x} was <varied|changed> from {x_low} to {x_high} in {count} steps.",
    "With the {x} <set|raised> from {x_low} to {x_high}, {count} points were taken.",
)
LAW_POINT = (
    "At a {x} of {x_at} the {y} is {y_at}.",
    "The {y} <reaches|comes to> {y_at} at a {x} of {x_at}.",
    "A {x} of {x_at} <goes with|leads to> a {y} of {y_at}.",
    "We find {y_at} for the {y} when the {x} is {x_at}.",
)
LAW_CLOSE = (
    "No point lies further from the curve than its error.",
    "The equation holds over the whole range.",
    "A fit with one free constant is enough.",
    "There is no sign of a second process.",
    "The residuals show no trend.",
)

RESULT_OPEN = (
    "Table {table} <lists|gives|holds> the measured values.",
    "The results are <collected|summed up> in Table {table}.",
    "All measured values can be found in Table {table}.",
    "Measured values with their errors <stand|are printed> in Table {table}.",
)
FACT = (
    "The {prop} of {name} is {amount}.",
    "{name} has {a_prop} of {amount}.",
    "For {name}, the {prop} is {amount}.",
    "For {name} we <found|measured> {a_prop} of {amount}.",
    "The {prop} of {name} was <found|measured> to be {amount}.",
    "{Method} gave {a_prop} of {amount} for {name}.",
    "{A_prop} of {amount} was <found|measured|recorded> for {name}.",
    "The {kind} {name} has {a_prop} of {amount}.",
    "With {amount}, the {prop} of {name} is <close to what was hoped for|typical of such {kinds}>.",
    "The {prop} of the {kind} {name} is {amount}.",
    "Our value for the {prop} of {name} is {amount}.",
    "The {prop} of {name} <comes to|amounts to> {amount}.",
)
FACT_REMARK = (
    "This did not depend on the batch.",
    "The second batch gave the same within errors.",
    "Storage for #2-12/1# weeks did not change it.",
    "It was the <easiest|hardest> of the measurements.",
    "A run on a <larger|smaller> sample agreed.",
    "Heating and cooling once made no difference.",
    "The value is <a little higher|a little lower> than the estimate in the order sheet.",
    "Here the error comes mostly from the <calibration|temperature>.",
    "This number was checked by a second method.",
    "Only one run had to be thrown away.",
)

COMPARE = (
    "The {prop} of {name} ({amount}) is {more} than that of {other}, which is {oamount} [{ref}].",
    "Compared with {other}, which has {a_prop} of {oamount} [{ref}], {name} has a {more} value of {amount}.",
    "{other} has {a_prop} of {oamount} [{ref}]; for {name} it is {more}, {amount}.",
    "In its {prop}, {name} ({amount}) differs from {other} ({oamount}) [{ref}] by {difference}.",
    "Against the {oamount} of {other} [{ref}], the {prop} of {name} is {more}: {amount}.",
)
DISCUSS = (
    "Taken together, the numbers <fit|suit> a material for {use}.",
    "The choice between the two depends on <cost|the task> more than on any single value.",
    "It would be wrong to <read|see> a rule in so few {kinds}.",
    "The way of preparation <probably|most likely> matters more than the recipe.",
    "A part of the difference may come from the form, since {name} was tested as {form}.",
    "For {use} the {prop} counts most, and here {name} does <well|not badly>.",
    "One limit of this work is that a single batch was tested.",
    "Moisture was not controlled in all runs, which <could|may> blur small effects.",
    "The data leave little room for other explanations.",
    "Whether the material lasts in daily use is not answered by these tests.",
    "What we call {name} here is the fresh material; aged samples may differ.",
    "Users of {use} should test their own lots before they rely on these values.",
)

CONCLUDE_OPEN = (
    "{name} is now described well enough to be used for {use}.",
    "The main properties of the {kind} {name} have been measured.",
    "We have <made|prepared> {name} and given its most useful numbers.",
    "This sheet closes a gap in the data of the {kinds}.",
    "In short, the {kind} {name} does what it was made for.",
)
OUTLOOK = (
    "The next step is a test over <a full year|many cycles>.",
    "<Future|Later> sheets will look at mixtures with other {kinds}.",
    "A larger batch is planned.",
    "Work on {use} with this material goes on.",
    "We would like to see the {prop} measured again elsewhere.",
    "Samples can be had from the section of {field}.",
)
HEADINGS = {
    "introduction": ("Introduction", "Background", "Why {name}", "Purpose"),
    "methods": ("Methods", "Preparation and methods", "Experimental part", "Materials and methods"),
    "law": ("Relation between {law}", "Model", "Theory and test of {law}", "The law behind {law}"),
    "results": ("Results", "Measured values", "Results and data", "Findings"),
    "discussion": ("Discussion", "Comparison", "Comparison with other sheets", "What the numbers mean"),
    "conclusion": ("Conclusion", "Conclusions", "Summary", "Closing remarks"),
}
