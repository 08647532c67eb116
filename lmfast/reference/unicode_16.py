"""Unicode 16.0 as the reference reads it. Written by tools/make_unicode_tables.py; do not edit."""

KINDS = {
    "a": "Cc",
    "b": "Cc s",
    "c": "Cf",
    "d": "Cf w",
    "e": "Cn",
    "f": "Co",
    "g": "Cs",
    "h": "Ll w",
    "i": "Lm w",
    "j": "Lo w",
    "k": "Lt w",
    "l": "Lu w",
    "m": "Mc w",
    "n": "Me w",
    "o": "Mn w",
    "p": "Nd w",
    "q": "Nl w",
    "r": "No",
    "s": "Pc w",
    "t": "Pd",
    "u": "Pe",
    "v": "Pf",
    "w": "Pi",
    "x": "Po",
    "y": "Ps",
    "z": "Sc",
    "A": "Sk",
    "B": "Sm",
    "C": "So",
    "D": "So w",
    "E": "Zl s",
    "F": "Zp s",
    "G": "Zs s",
}
"""General category by letter; with "s" for White_Space, with "w" for the word characters of UTS #18."""

RUNS = (
    "9a5b18aG3xz3xyuxBxt2x10p2x3B2x26lyxuAsA26hyBuB6ab26aGx4zCxACjwBcCACB2rAh2xArjv3rx23lB7l24hB8hlhlhlhlhlhlhlhlhl"
    "hlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhl2hlhlhlhlhlhlhlhl2hlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlh2lhlhl3"
    "h2lhlh2lh3l2h4lh2lh3l3h2lh2lhlhlh2lhl2hlh2lh3lhlh2l2hjl3h4jlkhlkhlkhlhlhlhlhlhlhlhl2hlhlhlhlhlhlhlhlhl2hlkhlh3"
    "lhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhl7h2lh2l2hlh4lhlhlhlhl69hj27h18i4A12i14A5i7AiAi17A11"
    "2olhlhiAlh2ei3hxl4e2Alx3lele2lh17le9l35hl2h3l3hlhlhlhlhlhlhlhlhlhlhlhl5hlhBlh2l2h51l48hlhlhlhlhlhlhlhlhlhlhlhl"
    "hlhlhlhlhlhC5o2nlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlh2lhlhlhlhlhlhl2hlhlhlhlhlhlhlhlhlhlhlhlh"
    "lhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhe38l2ei6x41hxt2e2Cze45otox2ox2oxo8e27j"
    "4e4j2x11e6c3B2xz2x2C11oxc3x32ji10j21o10p4x2jo99jxj7ocC6o2i2oC4o2j10p3j2Cj14xecjo30j27o2e89j11oj14e10p33j9o2iC3"
    "xi2eo2z22j4oi9oi3oi5o2e15xe25j3o2exe11j5e24jA6je2c5e9o41ji24oc32om54jomoj3m8o4mo2mj7o10j2o2x10pxi15jo2me8j2e2j"
    "2e22je7jej3e4j2eoj3m4o2e2m2e2moj8em4e2je3j2o2e10p2j2z6rCzjxo2e2ome6j4e2j2e22je7je2je2je2j2eoe3m2o4e2o2e3o3eo7e"
    "4jej7e10p2o3jox10e2ome9je3je22je7je2je5j2eoj3m5oe2ome2mo2ej15e2j2o2e10pxz7ej6oeo2me8j2e2j2e22je7je2je5j2eojmom"
    "4o2e2m2e2mo7e2om4e2je3j2o2e10pCj6r10eoje6j3e3je4j3e2jeje2j3e2j3e3j3e12j4e2mo2m3e3me3mo2ej6em14e10p3r6CzC5eo3mo"
    "8je3je23je16j2eoj3o4me3oe4o7e2oe3j2ej2e2j2o2e10p7ex7rCjo2mx8je3je23je10je5j2eojmo5meo2me2m2o7e2m6e2je2j2o2e10p"
    "e2jm12e2o2m9je3je41j2oj3m4oe3me3mojC4e3jm7r3j2o2e10p9rC6jeo2me18j3e24je9jej2e7j3eo4e3m3oeoe8m6e10p2e2mx12e48jo"
    "2j7o4ez6ji8ox10p2x37e2jeje5je24jeje10jo2j9oj2e5jeie7oe10p2e4j32ej3C15xCx3C2o6C10p10rCoCoCoyuyu2m8je36j4e14om5o"
    "x2o5j11oe36oe8Co6Ce2C5x4C2x37e43j2m4om6om2o2m2oj10p6x6j2m2o4j3oj3m2j7m3j4o13jo2m2o6mojm10p3mo2C38lel5el2e43hxi"
    "3h329je4j2e7jeje4j2e41je4j2e33je4j2e7jeje4j2e15je57je4j2e67j2e3o9x20r3e16j10C6e86l2e6h2et620jCx17jG26jyu3e75j3"
    "x3q8j7e18j3om9e19j2om2x9e18j2o12e13je3je2o12e52j2om7o8mo2m11o3xi3xzjo2e10p6e10r6e6xt4x3oco10p6e35ji53j7e5j2o34"
    "joj5e70j10e31je3o4m2o3m4e2mo6m3o4eC3e2x10p30j2e5j11e44j4e26j6e10pr3e34C23j2o2mo2e2x53jmom7oeomo2m8o6m10o2eo10p"
    "6e10p6e7xi6x2e14on16o49e4om47jom5omo5mo2m8je2x10p7x10C9o9C3x2om30jm4o2m2om3o2j10p44jom2o3mom3o2m8e4x36j8m8o2m2"
    "o3e5x10p3e3j10p30j6i2x9hlh5e43l2e3l8x8e3ox13om7o4jo6jo2jm2oj5e44h63i13hi34h37i64olhlhlhlhlhlhlhlhlhlhlhlhlhlhl"
    "hlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhl"
    "hlhlhlhlhl9hlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhl9"
    "h8l6h2e6l2e8h8l8h8l6h2e6l2e8helelelel8h8l14h2e8h8k8h8k8h8k5he2h4lkAh3A3he2h4lk3A4h2e2h4le3A8h5l3A2e3he2h4lk2Ae"
    "11Gc2d2c6t2xwvy2wvyw8xEF5cG9xwv4x2s3xByu11xBxs10xG5ce10cri2e6r3Byui10r3Byue13i3e33z15e13o4no3n12o15e2Cl4Cl2Ch3"
    "l2h3lhCl2CB5l6ClClClC4lCh4lh4jh2C2h2l5Bl4hCB2ChC16r35qlh4qr2C4e5B5C2B4CB2CB2CB7CB31C2B2CBCB31C268B8Cyuyu20C2B7"
    "Cyu81CB30C25B40C6B72C22e11C21e60r26C52D22r183CB9CB54C8B111CB248Cyuyuyuyuyuyuyu30r44C5Byu31Byuyuyuyuyu16B256C13"
    "1Byuyuyuyuyuyuyuyuyuyuyu63Byuyu32Byu258B48C21B2C6B39C2e32Ce105C48l48hlh3l2hlhlhlh4lhl2hl6h2i3lhlhlhlhlhlhlhlhl"
    "hlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhl2h6Clhlh3olh5e4xr2x38heh5eh2"
    "e56j7eix14eo23j9e7je7je7je7je7je7je7je7je32o2xwvwv3xwvxwv9xt2xtxwv2xwvyuyuyuyu5xi10x2t4xtxy13x2C3xyuyuyuyut34e"
    "26Ce89C12e214C26e16CG3xCijqyuyuyuyuyu2Cyuyuyuyuty2uC9q4o2mt5i2C3qijx2Ce86j2e2o2A2ijt90jx3ij5e43je94je2C4r10C32"
    "j38C9eC16j31Ce10r30C8rC15r32C10r39C15r320C6592j64C21013ji1143j3e55C9e40j6i2x268ji3x16j10p2j20elhlhlhlhlhlhlhlh"
    "lhlhlhlhlhlhlhlhlhlhlhlhlhlhlhjo3nx10oxilhlhlhlhlhlhlhlhlhlhlhlhlhlh2i2o70j10q2o6x8e23A9i2Alhlhlhlhlhlhl3hlhlh"
    "lhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhlhi8hlhlh2lhlhlhlhlhi2Alhlhjlhl3hlhlhlhlhlhlhlhlhlhlh5"
    "lh5lhlhlhlhlhlhlhlh4lhlh2lh2elhehehlhlhlhl21e3ilhj2ih7jo3jo4jo23j2m2om4Co3e6r2CzC6e52j4x8e2m50j16m2o8e2x10p6e1"
    "8o6j3xjx2jo10p28j8o2x23j11o2m11ex29j3e3om47jo2m4o2m2o3m13xei10p4e2x5joi9j10p5je41j6o2m2o2m2o9e3jo8jom2e10p2e4x"
    "16ji6j3Cjmom50joj3o2j2o5j2ojoj24e2ji2x11jm2o2m2xj2imo10e6j2e6j2e6j9e7je7je43hA4i9hi2A4e80h35j2mo2mo2mxmo2e10p6"
    "e11172j12e23j4e49j4e2048g6400f366j2e106j38e7h12e5h5ejo10jB13je5jeje2je2je108j17A16e363juy16C64j2e54j7eC32e12jz"
    "3C16o7xyux6e16ox2t2syuyuyuyuyuyuyuyu2xyu4x3s3xe4xtyuyuyu3xBt3Bexz2x4e5je135j2ece3xz3xyuxBxt2x10p2x3B2x26lyxuAs"
    "A26hyBuByuxyu2x10ji45j2i31j3e6j2e6j2e6j2e3j3e2zBAC2zeC4B2C10e3c2C2e12je26je19je2je15j2e14j34e123j5e3x4e45r3e9C"
    "53q4r17C2r3Ce13C3eC47e45Co130e29j3e49j15eo27r4e32j4r9e20jq8jq5e38j5o5e30jex36j4e8jx5q42e40l40h78j2e10p6e36l4e3"
    "6h4e40j8e52j11ex11le15le7le2le11he15he7he2h3e52j12e311j9e22j10e8j24e6ie42ie9i69e6j2eje44je2j3ej2e23jex8r23j2C7"
    "r31j8e9r48e19je2j5e5r22j6r3ex26j5ex64e56j4e2r2j16r2e46rj3oe2o5e4o4je3je29j2e3o4eo9r7e9x7e29j2rx29j3r32e8jC28j2"
    "o4e5r7x9e54j3e7x22j2e8r19j5e8r18j7e4x12e7r80e73j55e51l13e51h7e6r36j4o8e10p6e10p4jij22l3e5oti22h8e2B208e31re42j"
    "e2ot2e2j16e3j55e4o29j10rj8e22j11o4r5x22e18j4o4x38e21j7r20e23j9emom53j15o7x4e20r10po2j2oj9e3om45j3m4o2m2o2xc4xo"
    "10ec2e25j7e10p6e3o36j5om8oe10p4xj2mj8e35jo2xj9e2om48j3m9o2m4j4x4oxmo10pjxj3xe20r11e18je25j3m3o2mom2o6xo2jo62e7"
    "jeje4je15je10jx6e47jo3m8o5e10p6e2o2me8j2e2j2e22je7je2je5je2oj2mo4m2e2m2e3m2ej6em5e5j2m2e7o3e5o11e10jej2eje38je"
    "j3m6oem2eme4me2momojoj2xe2x8e2o29e53j3m8o2m3omo4j5x10p2xexo3j30e48j3m6omo4m2om2o2jxj8e10p166e47j3m4o2e4m2om2o2"
    "3x4j2o34e48j3m8o2mom2o3xj11e10p6e13x19e43jomo2m6omojx6e10p6e20p28e27j2eomo2m4om5o4e10p2r3xC7j185e44j3m9om2ox10"
    "0e32l32h10p9r12e8j2ej2e8je2je24j6me2m2e2omojmjmo3x9e10p70e8j2e39j3m4o2e2o4mojxjm27ej10o40j6omj4o8xo8ej6o2m3o46"
    "j13om2o3xj5x13e73j7e10x182e33jx14e10p6e9je37jm7oe6omoj5x10e10p19r3e2x30j2e22oem7om2om2o73e7je2je38j6o3eoe2oe7o"
    "jo8e10p6e6je2je32j5me2oe2momoj7e10p310e19j2o2m2x7e2ojm13je34j2m5o3e2momo13x10po85ej15e21r8C4z17C13ex922j102e11"
    "1qe5x11e196j2636e97j2x13e1072j16co6j15o10e3995j5e583j6841e30j12o3m3o10p1734e569j7e31je10p4e2x79je10p6e30j2e5ox"
    "10e48j7o5x4C4ixC10e10pe7re21j5e19j432e3i40j2i3x10p198e32l32h23r4x101e75j4eoj55m7e4o13i64e2ixio11e2m14e6136j8e1"
    "238j41e10j8935e4ie7ie2ie291j15ej29e3j2ej14e4j8e396j2308e107j5e13j3e9j7e10j2eC2ox4c3932e240C10p6e436C76e46o2e23"
    "o9e116C60e246C10e39C2e60C2m3o3C6m8c8o2C7o30C4o61C21e66C3oC122e20r12e20r12e87C9e25r135e26l26h26l7he18h26l26hle2"
    "l2el2e2l2e4le8l4hehe7he11h26l26h2le4l2e8le7le26h2le4le5lel3e7le26h26l26h26l26h26l26h26l26h26l26h26l28h2e25lB25"
    "hB6h25lB25hB6h25lB25hB6h25lB25hB6h25lB25hB6hlh2e50p512C55o4C50o8Co14Co2C5x15e5oe15o1104e10hj20h6e6h213e7oe17o2"
    "e7oe2oe5o5e62i33eo112e45j3e7o7i2e10p4ejC320e30jo17e44j4o10p5ez464e27ji4o10p214e30j2oj10p4ex480e7je4je2je15je19"
    "7j2e9r7o41e34l34h7oi4e10p4e2x785e59rC3rz4r76e45rC15r194e4je27je2jej2eje10je4jejej6ej4ejejeje3je2jej2ejejejejej"
    "e2jej2e4je7je4je4jeje10je17j5e3je5je17j52e2B270e44C4e100C12e15C2e15Ce15Ce37C10e13r35C26D6C26D6C26D36C56e29C13e"
    "44C4e9C7e2C14e6C154e251C5A728C4e17C3e13C3e119C4e95C6e12C4eC15e12C4e56C8e10C6e40C8e30C2e12C4e2C62e340C12e14C2e1"
    "3C3e10C5e56C7e15C2e11C6e9C7e147Ce92C10p1030e42720j32e4154j6e222j2e5762j14e7473j15e622j2466e542j1506e4939j5e419"
    "2j711761ec30e96c128e240o65040e65534f2e65534f2e"
)
"""All code points from 0 up as runs of one kind: a length (1 if left out), then a letter of KINDS."""

AFTER_9 = (
    "7fd 897 898 899 89a 89b 89c 89d 89e 89f 8ca 8cb 8cc 8cd 8ce 8cf 8d0 8d1 8d2 8d3 9fe c3c d3b d3c eba 1715 1abf "
    "1ac0 1ac1 1ac2 1ac3 1ac4 1ac5 1ac6 1ac7 1ac8 1ac9 1aca 1acb 1acc 1acd 1ace 1df6 1df7 1df8 1df9 1dfa 32ff a7f2 "
    "a7f3 a7f4 a82c ab69 105c9 105d2 105da 105e4 10781 10782 10783 10784 10785 10787 10788 10789 1078a 1078b 1078c "
    "1078d 1078e 1078f 10790 10791 10792 10793 10794 10795 10796 10797 10798 10799 1079a 1079b 1079c 1079d 1079e "
    "1079f 107a0 107a1 107a2 107a3 107a4 107a5 107a6 107a7 107a8 107a9 107aa 107ab 107ac 107ad 107ae 107af 107b0 "
    "107b2 107b3 107b4 107b5 107b6 107b7 107b8 107b9 107ba 10d24 10d25 10d26 10d27 10d69 10d6a 10d6b 10d6c 10d6d "
    "10eab 10eac 10efd 10efe 10eff 10f46 10f47 10f48 10f49 10f4a 10f4b 10f4c 10f4d 10f4e 10f4f 10f50 10f82 10f83 "
    "10f84 10f85 11070 1133b 11382 11383 11384 11385 1138b 1138e 11390 11391 113b8 113bb 113c2 113c5 113c7 113c8 "
    "113c9 113ce 113cf 113d0 1145e 11839 1183a 11930 11935 11938 1193d 1193e 11943 119e0 11a34 11a47 11a99 11d42 "
    "11d44 11d45 11d97 11f41 11f42 1611e 1611f 16120 16121 16122 16123 16124 16125 16126 16127 16128 16129 1612f "
    "16d63 16d67 16d68 16d69 16d6a 16ff0 16ff1 1ccd6 1ccd7 1ccd8 1ccd9 1ccda 1ccdb 1ccdc 1ccdd 1ccde 1ccdf 1cce0 "
    "1cce1 1cce2 1cce3 1cce4 1cce5 1cce6 1cce7 1cce8 1cce9 1ccea 1cceb 1ccec 1cced 1ccee 1ccef 1ccf0 1ccf1 1ccf2 "
    "1ccf3 1ccf4 1ccf5 1ccf6 1ccf7 1ccf8 1ccf9 1e030 1e031 1e032 1e033 1e034 1e035 1e036 1e037 1e038 1e039 1e03a "
    "1e03b 1e03c 1e03d 1e03e 1e03f 1e040 1e041 1e042 1e043 1e044 1e045 1e046 1e047 1e048 1e049 1e04a 1e04b 1e04c "
    "1e04d 1e04e 1e04f 1e050 1e051 1e052 1e053 1e054 1e055 1e056 1e057 1e058 1e059 1e05a 1e05b 1e05c 1e05d 1e05e "
    "1e05f 1e060 1e061 1e062 1e063 1e064 1e065 1e066 1e067 1e068 1e069 1e06a 1e06b 1e06c 1e06d 1e08f 1e130 1e131 "
    "1e132 1e133 1e134 1e135 1e136 1e2ae 1e2ec 1e2ed 1e2ee 1e2ef 1e4ec 1e4ed 1e4ee 1e4ef 1e5ee 1e5ef 1f16c 1fbf0 "
    "1fbf1 1fbf2 1fbf3 1fbf4 1fbf5 1fbf6 1fbf7 1fbf8 1fbf9 "
)
"""The characters younger than Unicode 9.0 that normalization does something with, in hexadecimal."""
