"""(gold, answer, verdict) of mathematical answers, and of multiple choices: what the grader has to
say.

``C``, ``W`` and ``U`` are correct, wrong and unparsable. Golds marked with a benchmark's name stand
there so.
"""

C, W, U = "correct", "wrong", "unparsable"

NUMBERS = [
    ("204", "204", C),
    ("-16", "-16", C),
    ("204", "203", W),
    ("204", "2040", W),
    ("204", "20", W),
    ("3", "-3", W),
    ("7", "+7", C),
    ("+2", "2", C),  # Minerva
    ("0", "-0", C),
    ("7", "007", C),
    ("1000", "1,000", C),
    ("1,000", "1000", C),
    ("58,500", "58500", C),  # MATH-500
    ("10,\\!080", "10080", C),  # MATH-500
    ("11,\\! 111,\\! 111,\\! 100", "11111111100", C),  # MATH-500
    ("11,\\! 111,\\! 111,\\! 100", "11,111,111,100", C),
    ("2{,}016{,}532", "2016532", C),
    ("1000", "1 000", C),
    ("1000", "1\\,000", C),
    ("1,000", "1", W),
    ("10080", "10,080.5", W),
    ("\\frac{100!}{2^{50}}", "100!/2^{50}", C),  # OlympiadBench
    ("2^{1009}", "2^{1009}", C),  # OlympiadBench
    ("2^{1009}", "2^{1009}-1", W),
    ("2^{2008} - 2", "2^{2008} - 3", W),
    ("1000000", "10^6", C),
    ("1000000", "10^{6}", C),
    ("8", "2^3", C),
    ("1", "0.999999", W),
    ("13535", "13536", W),  # MATH-500; within 1e-4
    ("13535", "13535.4", W),
    ("12", "2(6)", C),  # latex2sympy adds the two
    ("8", "2(6)", W),
    ("7", "3 4", U),  # and these
    ("12", "3 4", U),
    ("5", "{2}{3}", U),
    ("12", "2\\binom{4}{2}", C),
    ("8", "2\\binom{4}{2}", W),
    ("3", "\\log_28", C),
    ("\\log_2 3", "\\frac{\\ln 3}{\\ln 2}", C),
    ("0", "10^{-100}", W),
    ("0", "\\sin(1)^2+\\cos^2(1)-1", C),
    ("1", "1-\\frac{1}{2^{2020}}", W),
    ("1-\\frac{1}{2^{2020}}", "1", W),
    ("1-\\frac{1}{2^{2020}}", "\\frac{2^{2020}-1}{2^{2020}}", C),
]

FRACTIONS = [
    ("\\frac{14}{3}", "\\frac{14}{3}", C),  # MATH-500
    ("\\frac{14}{3}", "\\dfrac{14}{3}", C),
    ("\\frac{14}{3}", "14/3", C),
    ("\\frac{14}{3}", "4\\frac{2}{3}", C),
    ("\\frac{14}{3}", "4 2/3", C),
    ("\\frac{14}{3}", "\\frac{28}{6}", C),
    ("\\frac{14}{3}", "4.6667", C),
    ("\\frac{14}{3}", "4.67", W),
    ("\\frac{14}{3}", "\\frac{3}{14}", W),
    ("\\frac{14}{3}", "\\frac{14}{3", U),
    ("\\frac43", "\\frac{4}{3}", C),  # MATH-500
    ("\\frac9{19}", "\\frac{9}{19}", C),  # MATH-500
    ("\\frac 59", "5/9", C),  # MATH-500
    ("\\frac{1}{2}", "\\frac{1}2", C),
    ("\\frac{1}{2}", "\\tfrac12", C),
    ("\\frac{1}{2}", "0.5", C),
    ("\\frac{1}{2}", ".5", C),
    ("\\frac{1}{2}", "½", C),
    ("\\frac{1}{2}", "-\\frac{1}{2}", W),
    ("-\\frac{\\pi}{6}", "\\frac{-\\pi}{6}", C),  # MATH-500
    ("-1./3", "-\\frac{1}{3}", C),  # Minerva
    ("-3./2", "-1.5", C),  # Minerva
    ("1\\frac{4}{5}", "\\frac{9}{5}", C),  # MATH-500
    ("1\\frac{4}{5}", "1.8", C),
    ("1\\frac{4}{5}", "\\frac{4}{5}", W),
    ("137 \\frac{1}{2}", "137.5", C),  # MATH-500
    ("\\frac{11}{2}", "1 1/2", W),
    ("-\\frac{5}{2}", "-2\\frac{1}{2}", C),
    ("3", "2\\frac{3}{2}", C),  # no mixed number, so a product
    ("3.5", "2\\frac{3}{2}", W),
    ("\\frac{1}{3}", "0.3333", C),
    ("\\frac{1}{3}", "0.333333", C),
    ("\\frac{1}{3}", "0.33", W),
    ("\\frac{2}{3}", "0.66666", C),
    ("\\frac{2}{3}", "0.66668", W),
    ("\\frac{14}{3}", "4.\\overline{6}", C),
    ("\\frac{7}{30}", "0.2\\overline{3}", C),
    ("\\frac{1}{3}", "0.\\overline{4}", W),
    ("0.\\overline{12}", "0.\\overline{13}", W),  # latex2sympy takes both for 0 times something
    ("0", "0.\\overline{3}", W),
]

DECIMALS = [
    ("3.21", "\\frac{321}{100}", C),  # MATH-500
    (".35625", "0.35625", C),  # MATH-500
    (".0000672", "6.72 \\times 10^{-5}", C),  # MATH-500
    ("0.10", "0.1", C),  # Minerva
    ("1.25", "1.250", C),  # MATH-500
    ("0.5978", "0.59782", C),  # Minerva, a rounded result
    ("0.5978", "0.5979", W),
    ("671.02", "671", W),  # Minerva
    ("3.14", "\\pi", W),
    ("\\pi", "3.14159", C),
    ("\\pi", "3.1415", C),
    ("\\pi", "3.1417", W),
    ("\\pi", "\\frac{22}{7}", W),
    ("\\sqrt{2}", "1.41421", C),
    ("\\sqrt{2}", "1.41", W),
    ("\\sqrt{2}", "1.4143", W),
    ("4.49", "44.9", W),  # Minerva
    ("np.arcsin(10/13)", "\\arcsin(10/13)", C),  # Minerva
    ("np.arcsin(10/13)", "\\sin^{-1}\\left(\\frac{10}{13}\\right)", C),
]

SCIENTIFIC = [
    ("4.5e33", "4.5 \\times 10^{33}", C),  # Minerva
    ("4.5e33", "4.5\\cdot10^{33}", C),
    ("4.5e33", "4.5*10^33", C),
    ("4.5e33", "4.5E33", C),
    ("4.5e33", "4.5 × 10^{33}", C),
    ("4.5e33", "45 \\times 10^{32}", C),
    ("4.5e33", "4.5 \\times 10^{33} \\text{ erg/s}", C),
    ("4.5e33", "4.5 \\times 10^{32}", W),
    ("4.5e33", "4.5", W),
    ("4.5e33", "4.5 e^{33}", W),
    ("1e-8", "10^{-8}", C),  # Minerva
    ("1e11", "1 \\times 10^{11}", C),  # Minerva
    ("1.6e-19", "1.6 \\times 10^{-19}", C),
    ("1.325e-27", "-1.325e-27", W),  # Minerva; the difference is tiny
    ("1.325e-27", "0", W),
    ("6.02 \\cdot 10^{23}", "6.02e23", C),
    ("3e8", "300000000", C),  # Minerva
    ("3.61e2", "361", C),  # Minerva
    ("400000", "4 \\times 10^5", C),  # Minerva
]

RADICALS_AND_CONSTANTS = [
    ("3\\sqrt{13}", "\\sqrt{117}", C),  # MATH-500
    ("11\\sqrt2", "11\\sqrt{2}", C),  # MATH-500
    ("70 \\sqrt{2}", "70\\sqrt{2}", C),  # MATH-500
    ("\\frac{\\sqrt{3}}{3}", "\\frac{1}{\\sqrt{3}}", C),  # MATH-500
    ("\\frac{8}{\\sqrt[3]{7}}", "8 \\cdot 7^{-1/3}", C),  # OlympiadBench
    ("\\sqrt{51}", "sqrt(51)", C),  # MATH-500
    ("\\sqrt{51}", "√51", C),
    ("\\sqrt{51}", "51", W),
    ("288 \\pi", "288\\pi", C),  # MATH-500
    ("288 \\pi", "288", W),
    ("18+2\\pi", "2(9+\\pi)", C),  # MATH-500
    ("6 - 5i", "-5i + 6", C),  # MATH-500
    ("6 - 5i", "6 + 5i", W),
    ("-2+2 \\sqrt{3} i", "2(-1+\\sqrt{3}i)", C),  # Minerva
    ("\\frac{\\log 2}{\\log 2-\\log 3}", "\\frac{\\ln 2}{\\ln 2 - \\ln 3}", C),  # OlympiadBench
    ("\\frac{9}{32} \\sqrt{2}", "9/32 \\sqrt{2}", C),  # OlympiadBench
]

FORMULAS = [
    ("p - q", "-q + p", C),  # MATH-500
    ("p - q", "q - p", W),
    ("(a+5)(b+2)", "ab+2a+5b+10", C),  # MATH-500
    ("6r^2-4r-24", "2(3r^2-2r-12)", C),  # MATH-500
    ("6r^2-4r-24", "6r^2-4r+24", W),
    ("\\cot x", "\\frac{\\cos x}{\\sin x}", C),  # MATH-500
    ("\\cot x", "\\tan x", W),
    ("6m", "6", W),  # OlympiadBench; no metres
    ("6m", "6M", W),
    ("2RC+R+C", "R+C+2CR", C),  # OlympiadBench
    ("\\binom{2n}{n}", "\\frac{(2n)!}{(n!)^2}", C),  # OlympiadBench
    ("\\binom{2n}{n}", "\\binom{n}{2n}", W),
    ("\\lceil n / 2\\rceil+1", "\\lceil \\frac{n}{2} \\rceil + 1", C),  # OlympiadBench
    ("\\lceil n / 2\\rceil+1", "\\lfloor \\frac{n+1}{2} \\rfloor + 1", C),
    ("\\lceil n / 2\\rceil+1", "\\frac{n}{2}+1", W),
    ("\\arcsin{1.3 \\sin{\\theta_w}}", "\\sin^{-1}(1.3\\sin\\theta_w)", C),  # Minerva
    ("\\frac{1}{2a}(\\exp{a*t} - \\exp{-a*t})", "\\frac{e^{at}-e^{-at}}{2a}", C),  # Minerva
    ("\\frac{1}{3} E_{1}+\\frac{2}{3} E_{2}", "\\frac{E_1+2E_2}{3}", C),  # Minerva
    ("\\frac{1}{3} E_{1}+\\frac{2}{3} E_{2}", "\\frac{2E_1+E_2}{3}", W),
    (
        "m_{p} c^{2}\\left(\\gamma^{2}-1\\right) \\sin ^{2} \\theta",
        "c^2 m_p (\\gamma^2-1) \\sin^2\\theta",
        C,
    ),
    (
        "m_{p} c^{2}\\left(\\gamma^{2}-1\\right) \\sin ^{2} \\theta",
        "c^2 m_p (\\gamma^2+1) \\sin^2\\theta",
        W,
    ),
    ("I(0) e^{-\\frac{t}{R C}}", "I(0)e^{-t/(RC)}", C),  # Minerva
    ("\\sqrt{x^2}", "x", W),
    ("-\\tau \\ln \\Delta", "\\tau \\ln\\left(\\frac{1}{\\Delta}\\right)", C),  # Minerva
    ("\\ln(x)", "\\ln(2x)", W),
    ("\\sin^2(2t)", "\\frac{1-\\cos 4t}{2}", C),
    ("\\frac{1}{x_{\\alpha}}", "x_\\alpha^{-1}", C),
    ("\\frac{\\lambda_{\\text {red}}}{2}", "\\frac{1}{2}\\lambda_{\\mathrm{red}}", C),
    ("x", "5", W),
    ("5", "x", W),
    ("f'(x)", "f(x)", W),
]

EQUATIONS = [
    ("x=5", "5", C),  # MATH-500
    ("5", "x=5", C),
    ("x=5", "x = 5.0", C),
    ("x=5", "5=x", C),
    ("x=5", "y=5", W),
    ("x=5", "2x=10", W),  # the problem, not its solution
    ("5", "2x=10", W),
    ("5", "2x+1=5", W),
    ("73", "m+n=73", C),
    ("73", "m+n = 70+3 = 73", C),
    ("73", "m+n = 73 = 74", W),
    ("8", "2^3=8", C),
    ("30", "\\angle ABC = 30^\\circ", C),
    ("y = 2x + 3", "2x+3", C),  # MATH-500
    ("y = 2x + 3", "y = 3 + 2x", C),
    ("y = 2x + 3", "2x - y + 3 = 0", C),
    ("y = 2x + 3", "y - 2x = 3", C),
    ("y = 2x + 3", "y = 2x - 3", W),
    ("5x - 7y + 11z + 4 = 0", "-5x + 7y - 11z = 4", C),  # MATH-500
    ("5x - 7y + 11z + 4 = 0", "5x - 7y + 11z - 4 = 0", W),
    ("5x - 7y + 11z + 4 = 0", "0", W),
    ("$f(n)=n$", "n", C),  # OlympiadBench
    ("$f(n)=n$", "f(x)=x", C),
    ("$f(n)=n$", "f(n)=2n", W),
    ("$f(n)=n$", "g(n)=n", W),
    ("$f(n)=n$, $g(n)=1$", "g(n)=1, f(n)=n", C),  # OlympiadBench
    ("$f(n)=n$, $g(n)=1$", "f(n)=1, g(n)=n", W),
    ("$f(x)=x$,$f(x)=2-x$", "f(x) = 2-x \\text{ or } f(x) = x", C),  # OlympiadBench
    ("$f(x)=x$,$f(x)=2-x$", "f(x)=x", W),
    ("$M=2^{N-2}+1$", "2^{N-2}+1", C),  # OlympiadBench
    ("$m_{\\max }=n^{2}-n-1$", "n^2-n-1", C),  # OlympiadBench
    ("X_{d}=125-1.25 P", "X_d = 125 - \\frac{5}{4}P", C),  # Minerva
    ("\\frac{d x}{d t}=k x-a", "\\frac{dx}{dt} = -a + kx", C),  # Minerva
    ("\\frac{d x}{d t}=k x-a", "\\frac{dx}{dt} = kx + a", W),
    ("MR=SRMC", "SRMC=MR", C),  # Minerva
    ("MR=SRMC", "SRMC", W),
    ("\\frac{22}{7}", "\\frac{22}{7} \\approx 3.142857", C),
    ("3.1429", "x \\approx 3.1429", C),
    ("\\approx 8.24 \\text{ mph}", "8.24", C),  # MATH
    ("$f(x)=2 x$", "f(x) = 2x \\text{ for all } x \\in \\mathbb{R}", C),  # OlympiadBench
    ("$f(x)=2 x$", "f(x) = 2x, \\forall x \\in \\mathbb{R}", C),
    ("$f(x)=2 x$", "f(x) = 2x \\text{ for all } x < 0", W),
    ("$f(n)=n$", "f(y)=n", W),
    ("f(x)=kx", "f(k)=kx", W),
    ("f(x)=kx", "f(t)=kt", C),
    ("x+y=2", "2", W),
    ("x+y=2", "y = 2-x", C),
    ("xy=2", "2", W),
    ("\\tan \\theta = 2\\theta", "2\\theta", W),  # MATH
    ("AB=9, CD=4", "9, 4", C),  # MATH
    ("AB=9, CD=4", "AB=4, CD=9", W),
    (
        "$\\angle B E A_{1}=90$,$\\angle A E B_{1}=90$",
        "\\angle BEA_1 = 90^\\circ, \\angle AEB_1 = 90^\\circ",
        C,
    ),
    ("7", "\\text{not } x = 7", W),
    ("7", "\\text{Area} = 7", C),
]

INTERVALS = [
    ("(3,4]", "(3, 4]", C),  # MATH-500
    ("(3,4]", "3 < x \\le 4", C),
    ("(3,4]", "x \\in (3,4]", C),
    ("(3,4]", "(3,4)", W),
    ("(3,4]", "[3,4]", W),
    ("(3,4]", "3 \\leq x < 4", W),
    ("x \\in [-2,7]", "[-2,7]", C),  # MATH-500
    ("x \\in [-2,7]", "-2 \\leq x \\leq 7", C),
    ("x \\in [-2,7]", "7 \\ge x \\ge -2", C),
    ("x \\in [-2,7]", "t \\in [-2,7]", W),
    ("(2,\\infty)", "x > 2", C),  # MATH-500
    ("(2,\\infty)", "2 < x", C),
    ("(2,\\infty)", "(2,+\\infty)", C),
    ("(2,\\infty)", "x \\geq 2", W),
    ("(2,\\infty)", "[2,\\infty)", W),
    ("(2,\\infty)", "(-\\infty,2)", W),
    ("(2,\\infty)", "2", W),
    ("(-\\infty, 2) \\cup (3, \\infty)", "x<2 \\text{ or } x>3", C),  # MATH-500
    ("(-\\infty, 2) \\cup (3, \\infty)", "(3,\\infty)\\cup(-\\infty,2)", C),
    ("(-\\infty, 2) \\cup (3, \\infty)", "(-\\infty,2)", W),
    ("(-\\infty,2) \\cup (2,\\infty)", "x \\neq 2", C),
    ("$(-\\infty, 0) \\cup\\{1\\}$.", "\\{1\\} \\cup (-\\infty,0)", C),  # OlympiadBench
    ("$k \\geqslant 2$", "k \\ge 2", C),  # OlympiadBench
    ("$k \\geqslant 2$", "[2,\\infty)", C),
    ("$k \\geqslant 2$", "k > 2", W),
    ("$k \\geqslant 2$", "2", W),
    ("$t(0,4]$", "(0,4]", C),  # OlympiadBench
    (
        "\\left[ \\frac{\\pi^2}{8}, \\frac{5 \\pi^2}{4} \\right]",
        "[\\pi^2/8, 1.25\\pi^2]",
        C,
    ),  # MATH-500
    ("(-\\infty,\\infty)", "\\mathbb{R}", C),
    ("1<x<2", "(1,2)", C),
    ("[-2,7]", "\\{x \\in \\mathbb{R} \\mid -2 \\le x \\le 7\\}", C),
    ("[-2,7]", "\\{x \\in \\mathbb{Z} \\mid -2 \\le x \\le 7\\}", W),
    ("$(-\\infty, 0) \\cup\\{1\\}$.", "a < 0 \\text{ or } a = 1", C),
    ("$(-\\infty, 0) \\cup\\{1\\}$.", "a < 0 \\text{ or } b = 1", W),
    ("$(-\\infty, 0) \\cup\\{1\\}$.", "a < 0", W),
    ("(-\\infty,2] \\cup [3,\\infty)", "(-\\infty,2] \\bigcup [3,\\infty)", C),
    ("(-\\infty,2] \\cup [3,\\infty)", "(-\\infty,2] U [3,\\infty)", C),
    ("(-\\infty,2) \\cup (2,\\infty)", "\\mathbb{R} \\setminus \\{2\\}", C),
    ("(-\\infty,2) \\cup (2,\\infty)", "\\mathbb{R} \\setminus \\{3\\}", W),
    ("(-\\infty,2) \\cup (2,\\infty)", "\\mathbb{R}", W),
    ("(-\\infty,-2) \\cup (-2,2) \\cup (2,\\infty)", "x \\neq \\pm 2", C),
    ("(-\\infty,-2) \\cup (-2,2) \\cup (2,\\infty)", "x \\neq 2 \\text{ and } x \\neq -2", C),
    ("(-\\infty,-2) \\cup (-2,2) \\cup (2,\\infty)", "x \\neq 2", W),
    ("(-\\infty,-2) \\cup (-2,2) \\cup (2,\\infty)", "x \\neq 2, y \\neq -2", W),
    ("(-\\infty,-2) \\cup [-2,2) \\cup (2,\\infty)", "x \\neq -2, 2", W),
]

LISTS = [
    ("1,-2", "-2, 1", C),  # MATH-500
    ("1,-2", "-2 \\text{ and } 1", C),
    ("1,-2", "x=1 or x=-2", C),
    ("1,-2", "\\{-2,1\\}", C),
    ("1,-2", "1", W),
    ("1,-2", "1,-2,3", W),
    ("1,-2", "1,1", W),
    ("3", "1,2,3", W),
    ("3", "3,3", W),
    ("5", "5 \\text{ or } 6", W),
    ("3, 5, 7", "7,5,3", C),  # MATH-500
    ("70,110", "110, 70", C),
    ("70,110", "70110", C),  # its comma may be one of thousands
    ("70,110", "70", W),
    ("1 \\pm \\sqrt{19}", "1+\\sqrt{19}, 1-\\sqrt{19}", C),  # MATH-500
    ("1 \\pm \\sqrt{19}", "1+\\sqrt{19}", W),
    ("\\{1\\pm\\sqrt{5},-2\\}", "-2, 1-\\sqrt5, 1+\\sqrt5", C),  # MATH-500
    ("$\\frac{1}{3}, 1, 9$", "9, \\frac13, 1", C),  # OlympiadBench
    ("$69$,$84$", "84 \\text{ and } 69", C),  # OlympiadBench
    ("$221,$8$", "8, 221", C),  # OlympiadBench, with a dollar too few
    ("E_{1},E_{2}", "E_1, E_2", C),  # Minerva
    ("3i,-3i", "\\pm 3i", C),
    ("\\text{A,C}", "C, A", C),
    ("1,2", "(1,2)", C),
    ("1,2", "(2,1)", W),
    ("1,-2", "x \\in \\{1, -2\\}", C),
    ("1,-2", "x \\notin \\{1, -2\\}", W),
    ("$(6,3),(9,3)$", "(m,n) \\in \\{(6,3),(9,3)\\}", C),
    ("$6764$,$10945$", "6,764 \\text{ and } 10,945", C),  # OlympiadBench
    ("2400, 1350, 864", "2,400, 1,350, 864", C),  # OlympiadBench
]

TUPLES_AND_MATRICES = [
    ("(6,31,-1)", "(6, 31, -1)", C),  # MATH-500
    ("(6,31,-1)", "(31, 6, -1)", W),
    ("(6,31,-1)", "(6,31)", W),
    ("(6,31,-1)", "\\begin{pmatrix} 6 \\\\ 31 \\\\ -1 \\end{pmatrix}", C),
    ("\\left( 3, \\frac{\\pi}{2} \\right)", "(3, \\pi/2)", C),  # MATH-500
    ("\\left( 3, \\frac{\\pi}{2} \\right)", "(\\pi/2, 3)", W),
    ("(1,2)", "(2,1)", W),
    ("(1,2)", "1, 2", C),
    ("(1,2)", "2, 1", W),
    ("(1,2)", "x=1, y=2", C),
    ("(1,2)", "y=2, x=1", C),
    ("(1,2)", "\\{1,2\\}", W),
    ("(1,2)", "[1,2]", W),
    ("(1,2)", "3", W),
    ("(1,2)", "(x,y)=(1,2)", C),
    ("(1,2)", "P = (1,2)", C),
    ("(1,2)", "(x,y)=(2,1)", W),
    ("(1,2)", "(x,y)", W),
    ("$(1,1), (3,2)$", "(3,2),(1,1)", C),  # OlympiadBench
    ("$(1,1), (3,2)$", "(2,3),(1,1)", W),
    ("$(1,1), (3,2)$", "(1,1)", W),
    ("\\begin{pmatrix} -1/3 \\\\ 2/3 \\\\ 5/3 \\end{pmatrix}",
     "\\begin{bmatrix}-1/3\\\\2/3\\\\5/3\\end{bmatrix}", C),
    ("\\begin{pmatrix} -1/3 \\\\ 2/3 \\\\ 5/3 \\end{pmatrix}", "(-1/3, 2/3, 5/3)", C),
    ("\\begin{pmatrix} -1/3 \\\\ 2/3 \\\\ 5/3 \\end{pmatrix}",
     "\\begin{pmatrix} -1/3 & 2/3 & 5/3 \\end{pmatrix}", W),
    ("\\begin{pmatrix} -1 & 0 \\\\ 0 & -1 \\end{pmatrix}",
     "\\begin{pmatrix}-1&0\\\\0&-1\\end{pmatrix}", C),  # MATH-500
    ("\\begin{pmatrix} -1 & 0 \\\\ 0 & -1 \\end{pmatrix}",
     "\\begin{pmatrix} 1 & 0 \\\\ 0 & 1 \\end{pmatrix}", W),
    ("\\begin{pmatrix} -1 & 0 \\\\ 0 & -1 \\end{pmatrix}", "-1", W),
    ("\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}",
     "\\begin{pmatrix} 1 \\\\[2mm] 2 \\end{pmatrix}", C),
    ("\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}",
     "\\left( \\begin{array}{c} 1 \\\\ 2 \\end{array} \\right)", C),
    ("\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}",
     "\\left( \\begin{array}{c} 1 \\\\ 3 \\end{array} \\right)", W),
    ("\\begin{pmatrix} 1 & 2 \\\\ 3 & 4 \\end{pmatrix}",
     "A^{-1} = \\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", C),
]  # fmt: skip

UNITS = [
    ("5", "5 \\text{ cm}", C),
    ("5 \\text{ cm}", "5", C),
    ("5 \\text{ cm}", "5\\mathrm{cm}", C),
    ("5", "5 cm", C),
    ("5 \\text{ cm}", "5 \\text{ km}", W),
    ("5 \\text{ cm}", "6 \\text{ cm}", W),
    ("5", "\\text{cm}", W),
    ("5", "5m", W),  # may be 5 times m
    ("864 \\mbox{ inches}^2", "864", C),  # MATH-500
    ("864 \\mbox{ inches}^2", "864 \\text{ square inches}", C),
    ("864 \\mbox{ inches}^2", "864 \\text{ inches}", W),
    ("15\\mbox{ cm}^2", "15 \\text{ cm}^2", C),  # MATH-500
    ("5.4 \\text{ cents}", "5.4", C),  # MATH-500
    ("5.4 \\text{ cents}", "5.4 \\text{ dollars}", W),
    ("1920\\text{ ways.}", "1920", C),
    ("12", "12 \\text{ apples}", C),
    ("5", "5 \\text{ or more}", W),
    ("5", "5 \\text{ is wrong, it is surely } 6", W),
    ("\\$18.90", "18.90", C),  # MATH-500
    ("\\$18.90", "18.9 \\text{ dollars}", C),
    ("\\$18.90", "\\$18.91", W),
    ("\\$32,\\!348", "\\$32,348", C),  # MATH-500
    ("-\\$0.50", "-0.5", C),
    ("90^\\circ", "90", C),  # MATH-500
    ("90^\\circ", "90^{\\circ}", C),
    ("90^\\circ", "90°", C),
    ("90^\\circ", "90 \\text{ degrees}", C),
    ("90^\\circ", "\\frac{\\pi}{2}", C),
    ("90^\\circ", "\\frac{\\pi}{3}", W),
    ("\\frac{270}7\\text{ degrees}", "\\frac{270}{7}^\\circ", C),  # MATH-500
    ("$90^{\\circ}$,$60^{\\circ}$", "60, 90", C),  # OlympiadBench
    ("\\frac{1}{2}", "\\sin 30^\\circ", C),
    ("62.5%", "62.5", C),  # OlympiadBench
    ("62.5%", "\\frac{5}{8}", C),
    ("$8 \\%$", "8\\%", C),  # OlympiadBench
    ("$8 \\%$", "0.08", C),
    ("$8 \\%$", "800", W),
    ("0.5", "50\\%", C),
    ("50", "50\\%", C),
    ("0.5", "50", W),
    ("50", "0.5", W),
    ("5", "500", W),
    ("52_8", "52_{8}", C),  # MATH-500
    ("4210_{5}", "4210_5", C),  # MATH-500
    ("52_8", "52_9", W),
    ("52_8", "42", W),
    ("52_8", "52", W),
    ("4.5e33", "4.5 \\times 10^{33} \\, \\mathrm{erg} \\, \\mathrm{s}^{-1}", C),  # Minerva
    ("3e8", "3 \\times 10^8 \\mathrm{~m} \\mathrm{~s}^{-1}", C),  # Minerva
    ("5", "5 \\text{ mol} \\cdot \\text{L}^{-1}", C),
    ("5", "5 \\, \\frac{\\text{m}}{\\text{s}}", C),
    ("5", "5 \\, \\mu\\text{m}", C),
    ("5", "5 \\text{ Å}", C),
    ("300", "300 \\text{ K}", C),
    ("5 \\text{ cm}", "5 \\text{ m}", W),
    ("5 \\text{ m}", "5 \\text{ meters}", C),
    ("7", "7 \\text{ million}", W),
    ("7", "7 \\text{ hundred}", W),
    ("7", "7\\mathrm{i}", W),
    ("7", "7\\mathrm{e}^2", W),
    ("7", "7\\text{8}", W),
    ("7", "7\\text{.5}", W),
    ("7", "7\\text{ /2}", W),
    ("7", "7\\text{ mod 8}", W),
    ("34\\text{ sq. units}", "34 \\text{ square units}", C),  # MATH
    ("9:24", "9{:}24", C),  # MATH
    ("9:24", "9:25", W),
    ("3:30", "1:10", W),
    ("05\\!:\\!00", "5:00", C),  # MATH
    ("8\\!:\\!34 \\text{ p.m.}", "8:34 \\text{ PM}", C),  # MATH
    ("8\\!:\\!34 \\text{ p.m.}", "8:34", C),
    ("8\\!:\\!34 \\text{ p.m.}", "8:34 \\text{ a.m.}", W),
    ("9\\text{ a.m.}", "9:00 \\text{ a.m.}", C),  # MATH
    ("3:5", "3 : 5", C),  # MATH
    ("3:5", "5:3", W),
]

TEXTS = [
    ("A", "A. 12", C),
    ("C", "\\textbf{(C)}27", C),
    ("A", "(B)", W),
    ("A", "A/B", W),
    ("C", "C_1", W),
    ("E", "e", W),
    ("\\text{Evelyn}", "Evelyn", C),  # MATH-500
    ("\\text{Evelyn}", "\\text{evelyn}", C),
    ("\\text{Evelyn}", "\\textbf{Evelyn}.", C),
    ("\\text{Evelyn}", "Evely", W),
    ("\\text{Evelyn}", "Evelny", W),  # the same letters
    ("\\text{Evelyn}", "E", W),
    ("\\text{Evelyn}", "\\text{Evelyn or Carla}", W),
    ("\\text{Evelyn}", "\\text{Evelyn}, \\text{Carla}", W),
    ("\\text{even}", "even", C),  # MATH-500
    ("\\text{even}", "\\text{odd}", W),
    ("\\text{even}", "\\text{not even}", W),
    ("\\text{east}", "The answer is east", W),  # MATH-500
    ("\\text{no solution}", "No solution.", C),
    ("\\text{Yes}", "yes", C),
    ("\\text{Yes}", "\\text{no}", W),
    ("A", "\\text{the}", W),
    ("\\text{Navin}", "5", W),  # MATH-500
    ("5", "\\text{five}", W),
    ("\\text{(C)}", "C", C),  # MATH-500
    ("\\text{(C)}", "(C)", C),
    ("\\text{(C)}", "(D)", W),
    ("\\text{(C)}", "(C) \\text{ or } (D)", W),
    ("7", "", U),
    ("", "", U),
    ("7", "\\frac{7", U),
    ("7", "None", U),
]

NOISE = [
    ("\\frac{3}{2}", "$\\displaystyle \\frac{3}{2}$", C),
    ("\\frac{3}{2}", "\\left(\\frac{3}{2}\\right)", C),
    ("\\frac{3}{2}", "$$\\frac{3}{2}$$.", C),
    ("\\frac{3}{2}", "\\; \\frac{3}{2} \\,", C),
    ("\\frac{3}{2}", "**\\frac{3}{2}**", C),
    ("-5", "−5", C),
    ("x^2+1", "x^{2} + 1", C),
    ("a_{1}", "a_1", C),
    ("16", "\\mathbf{16}", C),
    ("16", "1\\,6", U),
    ("7", "7\u200f", U),
]

MATH = [
    *NUMBERS, *FRACTIONS, *DECIMALS, *SCIENTIFIC, *RADICALS_AND_CONSTANTS, *FORMULAS, *EQUATIONS,
    *INTERVALS, *LISTS, *TUPLES_AND_MATRICES, *UNITS, *TEXTS, *NOISE,
]  # fmt: skip

CHOICES = [
    ("B", "B", C),
    ("B", "C", W),
    ("B", "(B)", C),
    ("B", "b", C),
    ("B", "B.", C),
    ("B", "B) 12", C),
    ("B", "B. 12 apples", C),
    ("B", "(B) 12", C),
    ("B", "\\text{B}", C),
    ("B", "\\textbf{(B)}\\ 12", C),
    ("B", "**B**", C),
    ("B", "the answer is (B)", C),
    ("B", "Answer: B", C),
    ("(B)", "option B", C),
    ("B", "(B) and (C)", U),
    ("B", "B or C", U),
    ("B", "B, C", U),
    ("B", "A, B, C, D", U),
    ("B", "12", U),
    ("B", "Because", U),
    ("12", "B", U),
]
"""(gold, answer, verdict) of multiple choices."""

WHOLE = [
    ("7", "The final answer is $7$.", C),
    ("7", "It is 8", W),
    ("7", "no number at all", U),
    ("7", "so \\boxed{7} it is", C),
    ("7", "Answer: 7", C),
    ("7", "The answer is **7**.", C),
    ("50", "So the most expensive shoes that Carlos can afford are $50.", C),
    ("1,-2", "The answer is $1$ and $-2$, as one sees at $x=3$.", C),
    ("\\text{Evelyn}", "The answer is Evelyn.", C),
    ("5", "Hence\n\\[ x = 5 \\]", C),
    ("3", "= 2^3 \\cdot 3^3 \\cdot 5^3 = 2^3 \\cdot 3^3 \\cdot 5^3 =", U),  # AMC23: cut off
    ("3", "We have 3 cases.\nThe first is", U),
]
"""(gold, response without a box, verdict)."""
