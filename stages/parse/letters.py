"""How surprising a text's letters are to a reader of English: mean bits a letter trigram.

A trigram model (Shannon, "Prediction and Entropy of Printed English", 1951) tells text from a broken text layer. Typeset
English pages score 2.2 to 3.1 bits, French and Spanish 2.8, German 3.8, pages full of recognition errors 3.6 to 4.1,
letters shifted by a wrong character map 7.2 to 8.4. What it gives up: languages with other letter habits score higher
(Finnish 4.6, Polish 5.9), and other alphabets are not judged.

The table holds -log2 p(c | a, b) in halves of a bit over the space and a to z, from 1,500 open-access articles
(63 million characters), smoothed with bigrams.
"""

import base64
import zlib

import numpy as np
from numpy.typing import NDArray

from stages.parse.kernel import trigrams
from stages.parse.kinds import folds, table

MIN_TRIGRAMS = 60  # fewer say nothing
MAX_CHARS = 6000  # a page and a half: enough for 0.05 bits


def surprise(text: str) -> float | None:
    """Mean bits a trigram of a text's words; `None` where there are too few Latin letters to tell."""
    return surprise_of(np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32).copy())


def surprise_of(codes: NDArray[np.uint32]) -> float | None:
    """The same of a text's characters."""
    total, count, others = trigrams(codes[:MAX_CHARS], folds(), table(), BITS)
    return total / 2 / count if count >= MIN_TRIGRAMS and count > others else None


HALF_BITS = zlib.decompress(
    base64.b85decode(
        "c-n=$*OuM5wnV8-1Mj^diU0r04&>=E`sr5JF_luLHc4Quh#3H=ML6Sv3(10&Tr%c4BTDn=0tu1{CuMdcQ+XB{8Rc51SP~`P`YQ%Ua}ho={W24HP4"
        "y0p1h2V|M9si;I6~vrbDy)S9N&spNbYLcS;bt!w^;SX490>|g}I<w<ANlu6~8qvS8S4o5Lxu$?v2NC#`lh%mNa`I+?sG|uVpXPcwy(IoXob_MlWy"
        "d9fQAH^4=3utx>oQe3J6fi(=z2ty%taA#1`*OszfSG|F>h4D;G*L$uS{-q{(91{F$@NF^~*OTz4s%8OtVZkyl-uH@p?Q*`!r!&<9zDY}TuS$8LyN"
        "J&!K+c&Eni>a$dh}DXCTq{N^@fgD>Luwkfswi{_M~U_+CX%8S<wD4)d*{R{N28;vM}oVu{nSqSQf+0<TH~zovTEy`<(`TAD5+X6sQ2#YgQl%GC#j"
        "v@T9s1s4`)GG5)-4t8LcVmz}_U<A*$v%W)b60u9j22<6tS<uBPtF>3})4DNdu@73mO%%%=9Qup>Hu`<$+)yMQT9csi|P8rfW-<SU2!dTT9Ngkh2i"
        "pDXn}QFOSxvDD(>4U@PlExa`pw`6p}Q^qT1Z9KJA+90b<IS>(|Cn}QLWKD0Hn{~o;k1MYKyRdOBBCR4JG^MP<4@*I{t*C6l@HnFMaKG!!j+9|AJ}"
        "vby1uj#_^n`v)w_u8u{?zdus$Q7Fo1hekY+hy5p=M5qytMx*uXM_?yX*~@(pO5A4W;;SIT@?Col|SdSd1M^pSjoWs-QuaV+zOTz}*YKh%vgRW!HT"
        "f&A4}tFU7dxW+`q(%!?NulhvjAo^m4USMy|=jpS<O95WZh3Q@WkR{zBnLsGr0)o)shIYd-sp;n!;%L!|0Ua=nv#U`BZY&qhh3SVHHhxo9Lf<#5&Q"
        "rDZ4aO7G^S{wS582G^s-9-`Awy4#72PbBhs`DWg(=mG1(2YiC%rbSx2dWfh)mq#NWz+Cb*!gJA%;*-6Y_nOi*kV^Hs;oN}uMW5H522Ft+wn>UrW$"
        "wKg<wvX#oA$~>317iESptUW<>n-7|XYtR|{zg@_c%f4aH)e6i<6v=gtX*!S$_JVZ}-xKheX9=b*{c`)|ce)-0>A{@6HOUrRm5Ej*Vl1-Z0I)P^Nx"
        "@M{#GE*eV}80e$6Xe({LXd7y@d>xo|Ph)#jt2QLtSG*i%XSH$P%OzH;!MJW=S-wKwN?lC-M`5!hZVfp@@o1)L%7a|YmE=vnm{Ri2KC_kuZ)$nA?{"
        "{5hogC#sBvoNS`=ZoqcST5evV$ulg!PKyDI+DN6vNdj%dJZk&UYKhT6p85ty|o~wc*=&M4yezPOtTlY;)!|$`vtRmklP|Dk=O@_*ud_4GAmlZ&9?"
        "g$;(SzS0|Nn<W8)-auv)A25}pZp*xV%YKiW3qdi%u)z-gNTwbm0`@+pFg^x?=I=zR^m7(?PCv<Une-8UBv<yq{^Xq-mcVC;8x$-0Mr`S4~Rr=0)U"
        "Da1_(VR(EBT=O5yqC5Zw#D7Dah-N8uKZd)E@fh79)_kM5S9wJsJtkH5tbi^#&09Sy(wd4sY?3Qeedh{JX$^WdD<FWzfXCrW_bMdqUxX+*9_zC=$u"
        "R<nzP99JtE!ello{bD>Q|kRA-}ZU;9WO`Pt-UUIvA$<I+$CF;Is|4%4Gjfrlzb<eJp*Fn;v!sjy_!Y`|l!-&!=S9#+^lvHv+Jo{_A$@9J~iYD|yV"
        "U#|79dHifzkKaR>P`F;W4_}A%52iE1voJNQeG4<+a?1}YdqEV}o+a}S|DFLq0E2k(b^ZRUu;HgFSUf|Gm%5YqsJOW8Ps*3pT3DX-iP>Y>+6wayOG"
        "8>2FH+r);-W%(!d0>f@|xfGpun`!0+`~5$o5uzIff~<)h|e4rapF*$)uKMG5M`R?_+!iVOlu@GFZVnA0&*Mqf<p)*X>d1nk0@|v^rq$DY3p_V9vY"
        "bMp{T@3}FPH3p8V9?s{$YCl^hv%q}$1>{W1}-3|4i9X6o5b^}6MrJjv-^Rhmk6BK4hWS+f6I5hTzDS|ePU5w;duQe83816~-Y(7A)FRY(bLJC-ff"
        "q?>k)C#Z>EwWrE(a_$AK2JauF8Sh&C9@|>+6bkN*1FZ%b!wmpG+f2l+D~Z(-PX>*kfjUY7RFQvxdK-f8h82dt$>cky=3k7jITiTsNux$UaRzKPE?"
        "QgVx*<MpMp484f*OpN~l&30)}K(?nF*E?&;>ShN+F!1(}CAes$>}G~^Q+zRE!{_Uk5SJ5*Qy*=UJL5G}s|kilT8%HLf;Z4?!-Iw;I?x2v!c!uL1O"
        "1!eIS0&ZsE_IEn~H}E}f+`;@^P3Wo5$&H4nd49ij*YCj~2k7z2m;9WOOD-W%CxJfyKZPBvcV4_3LK06zoWTK~!$G8y3|EmlJ72lXP-0arI`B`Hp("
        "G+K1^U5raIV|}S3tm1O*dfow>nhU=LK$wZ^?WT9XJJpfLRI?1W<lcmbP2wtx;QGJw^kd#c>UeM<_AEaH<bKV<9Qgu<GKHB8a+&@kI5S+a)iO%TjT"
        "bIfI>+rX8pWjzUmRy%}?BJ0&5Ke;_{C_406W$CJbGsy{jSt+XwYUYctkom|cU>@YvlZ=WA}lU2NDMFC*any#yXqPm>-x(LRP;MUL8VZD0GyN<mAV"
        "8kz%O5sqL*Pg4_JsBk@inFs|;O`E%{&;Z_M_$1c1583vgyASV0Og`8R!*13ZA1;J|55%zKs<`gzIsXjHDkeGsBwOqP)LgtcrbcD-6}Rf4F(<m&}T"
        "XN1XY+IX6+|5B+d-4I*E102!HVvi$Z3>d|?h7y4%ojG#cugw=e6U7IbLUHNQy?)4~mTC0kjy;^#d~ds40oqsl>>(8IcR-D>CemoO~#6=4?Z5ISI<"
        "SBsxwZUwggLQYH1x9L?(W)&zRYM)z~4}uZjA4Bnwqhr3j`rt>)|CeI(?kSVP%&{aW6t+OFJBZ%ayogSVB2=>6Q2b1mn;W55BFk{(4Bj)tmpV5J|H"
        "=o4NyLUbe2|Ci!^hG+!)c06V)Qq^cP@xtaKN&JQRfQ?1C<0^%L+N`cb}nSQg~gYE^DNKZnP!uo(l^yUF)-`-oA*0bfRIFxPWZ5n99a7h<2#I;-Op"
        "6ED2%2;NBHd1wD{?Af_(yl@YHKRRP7t|5EZFoHRl6x7_%HBRH`Rcq-_gC<1OcxMEiAgrrP~$%%bP&y8y6th4@Iq!UU@M_l?a%gH86K?%vsRqac3B"
        "!X0FWJT%*Pk)Y|UO%7H%uBQ|0!ZwMFxn`@oDx!T+uI$s69MNw%<*jsfdjo^`^7h(Z?12qHJ(~}d7c#iwe6J`bt+v-W%^{xLB~T==>;6_J7Sd+0%!"
        "Od01(6X^N2cE|4y3ifa4MJOkW}zRzSZdT`IF;DNW$NI63q=igpn)p?Yu$y5<CitQ+@)KY~xHz=nbU9NdORMwKiV4xt0ifo<C^ZAu^3!0$q=2Y*Z+"
        "U#s^XD4?N@b+<$D4|1@T^@-df1h1!^0`qgBa_^NQz$_JOJp<IB3IC(8vpOwuFOaIRTNpnmqgu2Uc3g6x0;FlQ{vv38wBJk#X7@AE#jJwffQodhi-"
        "5I(%nOWTdo1`#E$DfCWVt|D00%rKbU}$(3mnu+k-#m=bf-Sh0{poC9+U}K3iJjO)u^Y<S_kn6qFQWbb7njUid+u}L|nxFyg}>c{gW9%2A`V}zM)o"
        "3`qac<FSws}+QY|`gua@09=fR^RcmfsUBPWtt=)*x)C2?IcZ6;1ovmxTO>h77XRW&M*|bN5$0v+-+Lq&Y_4vtlP^2BH0}|=Z{ID*VUqY{Z=0x^4r"
        "?cM%P8FOEggFBl`VhPx9RM_#@WGmA<NJk5XR%}bbkrC@?Lk0DvL5M@#s7`R?|t3C|BP7%|N6{ZNm9n)12uh8*=o(#(;v|IDjEFtLIZxdfM=<Ahsc"
        "43LIBnRm<EZx_j1KA5BMV-CK~r@3{9aO2HaMBO%rc+@iqr8anqeD`m~@g26fVqh-I8c%#_+p=U{$6j_+8@6_R;aP~c@Je(K%dGLObkegG`Z)d#jg"
        "GvNoAUcb=ILWbxUIzac{kQWgCaWV8Yevdz3V3c_+=>)Iu!dr3t7m6q?jmfg^5Uz-o58)S*OO5doHF$)UwZYJ30e?T>%NC4tBaa#Hsj{`=Q*G=)-x"
        "4+D`o*|Ls5A-z&^vZ9I00ls;kl6Dhu9$@mrtof*TD!!LYV8lMF>ReRn@AS4G(0l#gWBUCCu=2JkZdm?Si!f>EFVu{6N`Mf5Yb8Gm&t2*f*!Za6SW"
        "Nd@JU{41Ea=PJb;5mW`1Uaga9?KKpYMe^Q3^!p(QBAqLJ6Sik@Pft_clRaCbL8#h_n*pVyyQn!vmwtPKZMoK3)2>bB9fmuz^Qk0^kPKe!$ZIz+DZ"
        "GdTF?G%lsT<?pD;^1r83G!X$ic<UDT-?yOSWgOyay9Q_L(9X5(bgh5sPCnRMwlC$fCkYsja1P03u#xMfSo%|&j7*Boq3Ij7`R43*&yke7=fmunq+"
        "MQ`58cZZ-f_?onlACFZz-SAH@<-sTeKl9~HhVmQxtu^a*W3SGszLUC)~0)|>)Spf;qL+hNvunhLaWcIR>a2vIXKT-}O&s~1UPiFT|9k5$o*$i5ok"
        "0*YPWwzEuKr#8ll3Ehu9BRt;QO~q?*&Gk0v@ks0M|I>dlwoGQPYnTFf7V7eHP<nb2MvVBNTt&o{AwfA^Fn^{^M%b?Rtt_+PZnNSo9PvxSz5f<J4l"
        "rsk$ydF?9&m(xh0oa;;>TOi5qcxxhKi#P2-mfO7W&Ci$Fcy<))snH)M*AqZu#(mg2Q#R+mZt2MLdBzWH=nYb?<?K?^p+{U{EonPDlVoRRcMdxs$8"
        "Ne?*H{Ujl*lZR#)`3=3G}1T#=cpU`9i7*j8@o_aWJ3iBpS!G-Y=s7EUxov1VhTcB~)I8X2&Mt&Ax&vnaCPv{8+$q77iFD$wwkpCgLwE*zOS>amkP"
        "^-!A$3XMR=oNKQBr`JQ5{!qCMe^n5AT%lTRn%m~3qm5R7UH%N8RXE9whwzAy~Y&p%O2nY-HP~8)k{2Eu5!&B+Tl`;5#_Pm_*p12C^_gMY{-!!jzX"
        "yR;>^!>UxY_MUZ2pxr7v<?zy2i1nG7fqZ6xBr$zsgn)K4xwHY7wYm6Ha2hm;+0Yn<=pIM^u&rLvW+-wM1N6Q<aqYrS6$UJ3@(`?6~(d?_mQ!~n4@"
        "i&w>0_`OScJh>$VW&N!8#}GaB=Nf8R1qO~sa(p(?zyDF#H$cLeM^&K0_U_pB%GG#MM-OWF=_u`jqN0e)%XGP7={;X3RF^yt-La-DBrzeyb}5fXZd"
        "soh0RRR*JkKjJC}ml;L0`iCnb6wXNx5P6;-rAtwi<VD`~>3s0r~7%bvz1`V0|3--rj-fKash-z5sz*7xIp$e>W?BFDSxOz%Iyc3Dt=1f+7F5h<F7"
        "F>!oX*%7jjZP?`^*%DrB`!WluOQsfLmkjTB+bDnhg^@)&ys9!Mh9)!Iud2PmKq}Fy%b!*7WD!>%q5ryPVZ5L|cetYMSzCU0q!>pEZ^2AXemletS="
        "2aXG?x)6^AF#C5$wFb*ROZ(`5{DA`-Ae%EjeC(*vStWskypho{gyX&nQX_H?gf#)og1UE%D=h+;o?q;yI2&qcU&O(a-ulU#+2R5iN(R?tG#%*!o="
        "Km<8h~ax=!o3?v0s2{$(w+#<~+*-K6=Xr#;2}^8;7^yYvW;CZmo2F*fY4BaHRYHY&YKpHNty??fR!A;EPbdSz`cIe6cDH~4m$r7wdZXYTwLIr)Je"
        "MLLBrBsas|;B*rzx9kH591pG)_yb*f*^7&mjUvF&|0wJL+3+5+jm~6rT-)_D6i9=($1&aWfbf)`FFc(ZMDX>6?>trq`5~cf4}^>^gluGLZ~Y-OEm"
        "RK4h32CPt!0{WJ{S<dBA6JR42)J@s8S6mNVt*OkH4?=@uMIRjE@!osInL5hP}i)KKE3ECeJ<Na!R*^him%0zfbJ-a>VNXaNJwDi_jA_M-b8W7F~$"
        "=H@lo(#v>zp491W2I@Rdi&pMi>eF`z`H_bGM9ahQ*t?p5+8X7SLM?`=Y|Cs4aOr!8gdY}ZCf;%IlYjfQ|4*|)O7-sbdBx<7ycPN|_(x!xUxV8H=P"
        "x+R&h@7w+C9TTJ^(c_3RS>}KpDYsjL$#k)=CKMIyKp@RWH1G=<kocm22f-IMWFvfi$4_c45~L@A|?SJ$QMWkn+Fs(Q;-x^TZiQC!&6aX^ki?o*DD"
        "3W4aWN3i!|WrQ~kjbq%bHVFx60Ft)fJzDAWXomhp>Rd$G;tb*d@*HQ&F*I#@@4I-8OqLt=O*gy=JSzs!6wC`8r&El8U)9*L*#L*gIv1#N>FAq~r#"
        "^@DYm^rEaWj9Ks17oFK&?omHIp7(CAw{x}_-1r9iW2tG&e-*ap8mw_^l`Ij|DnJ+4K@BZ`%BKSVPx5csoJz=40e)@yIt528jktcq5Cqr<1ad3(y3"
        "dT^zz+eU43$@O>ah-88uJx>A;?88u1r0x`nfpwe~TLYmvgo~XSw#yg3inOhpoL@_)CyuGis=#lw5tvSAs{O1aTV?+7t^08v!O=Zei-!(gn;21(vF"
        "opinye7j-j|`fT4^egeI9f3M#x=aG)h<AH>G_2{6_=V^47BA7-E8AmPxZlQB2g?OLdS_)lLfvXZ?5^1Bzk04EOTo9eNP{a@_{K5k@*8V!uF_aE<M"
        "*GXN=O^^NrAC|(dxu#{4_l|uh?_~u07C92QU)X@gje7czrl9Y&%LLy&ax9BAc}vS(}rk-2_(R~*2$G)rpw|_`uIfR1F#x{nYI4slSXPP;8|-C6hT"
        "Z*d&ol@#~oc{aUm9Bs{9V`O4;}>8&UI0BBTTSIKOWrP)EF45RCq}7v0eDo<XhfN6@MdhH+QG7VNzSaKlDF1u+2P1ogL${VyShLTe#23i%f-^r|pG"
        "%t!&;Hw!K<CN~i*#Xxe@8$LUqqR&TE?l|G{maM;BqOc!0(SH>7-V8)I*I7Nmt1H_|=;;tZMZV}#lr&jxJS+0KD^g>iJRbQ{(J0}Hpm;VTNvOuAb8"
        "kQ8pLc1n5}f=dz}La6smn!wb)7UZ=A5l|RK*$O6SrzuQ92*@{u3^G3b{6(8U&8O`rebeuc!kJ5;q@_1}|4M_qLQ~7gB)mGHs;Wo0OOvM<v86$t*G"
        "5Fb(GO01aHwAAp1b-*$FiT}(E*=J*ezQco=g{iY_*ai>^0YJ-;IN`S*gMEqsDKyJ#V-1UJ$gRujxtFy{xhkKsPHb(=(=2)G(D~!ZI01|U}u}sqCc"
        "f&@XytEM`Kw{jkr6jSo+*vF{55z@$i%WkyBo672VR%B6Ob~TIJELC1;Nb9L4y&zw?6U09plxI6p_hKY)1enJgHcy+sy3?L@RXd9c77gRC)*np$kL"
        "Ciy!dtS1CT)^7=k=#i}jB57+3lIksYs-W|EN`amfNFDGcf}<nDRsoRB_B`^^R`o4NOpd$Uu`3<bQ8y@RrH*v`8Kv+D|RPY*Ooy?Z-iZ6|c{-X~h%"
        "egJKSJ1nxI9gA57HW2|>MCJ0$1zg4S5@QL9?KL1Qn8Y;D(EkjNy!>rNi9n?yj=(9XxMHi4MI_)5j{*#uAN`UrotRG}+~$5UN7)WEvKi<OQ$=x+Ro"
        "kaNPDEl2a#mYs3IvrvgrHvuic}T#$z_*{mZvR^F<`;oQG*dGsJH{1A(%&oxF`sT8A|`#`;gvC;G{tm0tH$Hg+aVUv7unqVu>Q7i=9)X3Q&Y=a<!+"
        "`C;7G+Z+C{+1mL!PxXYhZN=szKD8LO`xpxd`$ostOyrXjZ-76udeWO$>3NUAkNIS@abuYrH?!CycQLkHez0-M-0`x`*=Ig6<Z-nE4udzPe4gnAsG"
        "42h97BXYYQ-y~BSHik1u}LRA0=1WQ<Gv9hA2^r1GvGJ1EwE>LZs@7upx+1Cd`|G)oX@?wM25^$8n#*Vc~519mQV>KU&T+rZJ;96gqr$ikwK&fn$>"
        "Kq-C_-`n$7ol-e4Zgm}dW5=b%*z4h61xITsj$G{R;LCrY|4NjD*{y*FyvJ~RN;#<#=NYH?-q-<CS}w-%W3y~iE`a?1YY+Pl6#^<-(CgAh$_po<Hl"
        "GH~6D2t%N!E24=q37PNxN3{=g&27YcO%V|Ux%}7ux4}8#XZiVW#+KSf6;*ZMi)e;mckneLIwR;Cx<upwxgc?PCFMII+NF$r#_>cTR-x+^b<)Aq*I"
        ")kpL}?!bHb8qr&d8NUwrw3yY*-R5tD2cbStPGSFSd)wCC+Aku8=>n#?>GxQ)M*KhZ6W90mi)syN^jF2q~Ifny-|U=(%d;v-fk&P$NyVxV>;H^pYa"
        "pTHold9yQ08($U*U(2Sr2`f)+Ywr57<npIssYyR8H1iB&$X0nhRshmAA<9fnvfJsf1Pk9LHOU1qKVcS-ZAF^I6_O~Gt;ki`h_jb9jt?lK$mh<)0a"
        "IczcxO{Km)#bZw#2I*Hupqt42n*_A;*x^d8c(P~v>awQl}f>A!%q!&o*94YeVlyX57y^iBi&oO`Y~W1bR$}GOYcv}{4z`<G{fQ$()wWr_e4Ouo`k"
        "7GIP4Ix99NnrZJ?O93-T?|9+4L%Gax($SX!n@%GmT<`RPHNC~Uv?7b_x0PUq<Fg`a%aRThG6Y&$$s2y`IcUOPOlL}4vZi@#$erw<Uuu*OfnDEU2A"
        "$OIuk=YIkN<9)7XJcJG78*I(Sn7adU<+Zo_b_#$`?oWc{<$X@&Ki08>KW_)Ljs?yw^Y%&-_=vTdJC27UXx(ygB=@k)MI<_~yl^WzQ5W=Hu;I?~>!"
        "PH4xp7=DDu<wv$kT$)vH=hJwaOIZ1}1^rob%B!PB{kZ65j5g`M1joPYv_h-DqL-L&tAF18DYXXR~%|6m&PQTU50EM}cwH8oJMLMko-6nmCCMNqgr"
        "p6@FQah%e=|cW$3X=M7-rv-jrLKU_x?bbr}rl1egv=N#ZE3kd(&vuIlz08??Vx`nk8=r#jHbn=16GQ#{TJ>&0U{em#AyUdrZ&#{a_c}($hKg_|C1"
        "nY?*b5q8v_O+XN+g7Mz_Ha(?Vs4zkJ5*-s#B_x;sA$=f8VLI;qlNKDP)2L$q8|S{PPAj+UOy2XkKvF1m5qRH5zwHR3Ry#`E;z9*yrMI1g}<XQ1Vt"
        "yoU*6DL2LJ3+4L$bjDK}fd6ig)^S=kqmQFTG%l}Sc?3ia1w?Y_zCv$ib%xAXV_#GWxb5`7ON<hjOstF)KJVxklNc$fGVPUqhp0*!K)A*Exi*0Z*2"
        "7!khjyD_|H(APdA2A|=WP(U3BW|xIzHDkOpqO^<A-fnLdZ#y{Te=@dZ+6}~m?gi*i)e~XGhv{IW7zwV?vl^nY7p~2vC%kz$LV*BLM`P#C_R{ZThc"
        "PB!@<p}?Ye!fU2GXhk(n=Kz_oJ*{+!i<ES53pvkCTZlsUsf*n#v@QX48asA|be;a}o%RvVE*J?X678l>_ur5tG70(;MS=?-O@xn%bd<8i4M;byW%"
        "!p~CVW!rt%%4j`c6CUiGHl$4^APyY6YGN8v8h?CEJzMl*hm6a0QJP>UKZo0{|_w~$CZMyoqb^d!_ik`r*eQ0=0rLY!|Sak#ZcpX|2q2vaAIZ>|c&"
        "IXhcVRZXQ7y=z~|MG|!25H<j@fPY3iq?fY4$6+kWy+A1iVWLN-4S7Kuy5U}czk<JMSY+YzqO0NhP3%B8?8!v&x!sj?>^JgRtAT)HOKn{mM31azcK"
        "PQn)p~HR7q8QH?4>jF^KbRF?a&`;!#W_%!)e&yy!gq=%)h5LrL!Ot*@l>T0#&H+X5s2yf~gm?ZcVqWeR1LNf&~i+pb~NZT6aVT0iSMF7>xRY(%0a"
        "Ai_euAS;Jm24OK)4KJ})*?I=<Rxh@n{^LtN4s~oER}vTIbz_sm{IB!as3+_8>9lX`Nv?>3bh!70wGlG5?LBtV`+?#uA`xWJHv7O8w@l%omltB6T#"
        "}qh<m2v-eel$CvsqWV-C0gtd!2QzGcAp(2dOM&`SswDH>~2{(EV3^G%E48(P=f5{W{^~YigQa;h6gaZ;Ih&i{C06g5-T@G`ra%zm$9?=n?q~Gl}#"
        "<_DL?I5nWf<iF2Q9imZp^-yhGRh@6rtA>RRb10E5*<kC)aYHuGk6UxTu#sE!z_<j236mB~4?nM%l5PB#l7}E*QU+0zeD=Z)tF|&Ysz(U$$!nC|ji"
        "9uF;D74-f(JYAbUZ5X}jaKp#DunmFqpLrBE=@Ie^reXho+#{XUx@%YWhDAR;&AKK&x8j&=mTr{_mUf9wfFe+VnK#|ieWEdsT?Zuf%$!Z#}WWC_Et"
        "K<ke0x3>O>U=WAC@`BMGQEm+SKXzy)r>{@34@U%1k{_Lk|jdl^Y}weP|2&kxr2&WX(T;Xc*e{~eXr@xa;+Wa`2Pg7DhQsHUwX1e)x{XK~c2?fsTB"
        "i`JbGRgm;dVaE-BtoiE-8hw^hQDde&o9@hI@Ap&vi|%>4K467&wu(FQ?Y|T|3nH8ok-|GTB6`+hFVPjfnbc<HN4(J-Eu$>0sIsnsiQ~z%Gvt#3l5"
        "!Tl%cw>FI$|J?K#`j2HKy_ysZUeyi**R&#6xTqho3hjP6x!iVF<}*c$|m4hK%`nZLWt|QDMH~?3vvzmm@pIp5a4<Nm*O;^C6HE(x7as<P$dq0XJ)"
        "Js*Qa<N)dJos$@obQjBokD`SX^uF0Fe%-^qljTxW0__Lm8pB#I?odPzwpwUN1_C*>>yoK3-U6d7v>$$X#2gNL1tE$A2%F)Tyw_UvP!p*nB@C<CI_"
        "wCVL2g;F^n%Qa*eq>9b(IJL~S1BPFMy)vD-wiZthEvL!N}eED1%}Z<x?<cB->IZ>beI&eA1L}WpIR1F{59Wf`t8Ghi__HKqk$8b&ruVU=w1^=L|;"
        "Fo-o!>hWP-0&sUHLsjS?%*4X!G8!b7~6OA9d%yr`#46Sa|-loq5tJW@cFMcx48r&g!$?+ZWoHS#~Rc-9wit#9?k&&<`mvbgppV?{zjX8Bv?TR#>I"
        "rp<zu5ug^|M-|eu^j;MKGi5dVlwT9k?=$n#wpr%j=WRS{dr4gD-P=!pyEf1o_Fv(VKs8NJ5Z|WBJ~2Nzx?5qa`$fP9%mck+V9F^TIQ2S)hChOE5D"
        "0LBeMz`X5;URE(W@T^Q`+ydK&&;Z4brTnkT+HRx_A*c_tu701eDk?2AP-H7wDLF=>(&hnnJEu?#g<S{nV90k@8O(JS#FTqSV0sr;<mjgr>Alrd9G"
        "KuifD>P|;>v!ag@Bxl{NEz%9RT_t={_m|2$OhpKSE2^*$yj3U6<zg^A%wV82}k{WnE=B=0z(VY-s0XL`{)Mm-^q-u%l8l2VAxcYT9YnU;}%O%$bR"
        "_usT`U7S#k}QV2Cq3%0P9BYOY0Os9+eL~H8XB#c5E?L=AYZSMS~)MtAG7X76#T%YUpQd+5CzsY$Gv(cfL!|oLjuyIe`VLuNrjY<8~}{Qb4gjyC9E"
        "cA^T|`nx5@Ebn3O`%)XD$9tEqRdg@o=w&(>o$>n%{pt;VTg-hpe@^Z<gJN?y#~Ga^FlsSJucIKGX8CZ`x;Z_;TW;k%a#CuZU5Jwr$K61h(Z(_#G#"
        "QWhk+as8l;s(_~h4;C+rm3=C!w)K8PkQ2F5o=6|-``opyh`|~``TM0l5ST!AUq=7eu~q5_fFbfg@p<wtutQXBPBxb7hD!@$_wJHJNk}LN>Q$702h"
        "J2f#7?(@2a2)1i60UoY&)dF+-N`nG8rzVia;921bm#BA}$~G;Ik->SYI!SY?lE(r_kIW$QIG|+ewIh3gj9akm|k-D$*0<VURjIv-c<Pd=~OWM{U2"
        "k9=^U5Garw1A5!>)feGX%DNs*emx3N<c&Rdq@{9Lr>O)5Fa@JwY)n{wQesj$C<Pvif04>P{j0#ULm3VF#2|>9w5}&5NFRvK#=UJ`2j^AP|Wcxz}="
        "@C`fr>fA=&9(jV8nw=xcvQWBAx=ri6WwPdAYaKy?}85gb9;#7OVEnZ!Uqm&feUW8+df-lb?3Kb6QCM@?~C;9^w*J4A>8ug-Tm+76>}zZWEu_54Y("
        "%A$#Ea(P4fMhFg&h*V40fRi2msTfdkgRUx$?a@WRs(n9ZCnZlRUEiVQ$Sh3>4jtP!&AJ#oH|%&vB_%{~w*vWzzdWT~kkey^C}MqwQLxY9nj-HyI|"
        "XnnuovHm3hdHFkC{Xp^5J_N;g$aWZwSs$PVT5ZZ&>$P+oUwJ_zpu-g}q5M7oAsuc~sc8OQv-qz=P+l1wDzLGn!{6P1%wXicCqzmO;8qIg@<fdTQ{"
        "5$aZeNC2O#xM_sA$7$+Gh&O-jn^FsX<BhUN)T1EUQb4XfX3z*E!Att_{AHJg3emuca<OaPuvQ%VP9?ZXXp0Y41E@B5dg$fJV{neBFnd`(3Bdo~XS"
        "9?&Wpw-8ly62NAI-(18*K0{GriP&f&?))^A>tjT%N>lG_DD+y8u11cPA`e(w>P}VyV+WjV1Mf`s?gU}}Q>f+vrwNGP;GdjxkKHKQ_+b16Qf9{oA-"
        "w%5CLgE-mhz)nZ>*G2v1F)}@CntbBk)%yP0)HJC0cuz}7#9_pKq4J#0g76O;#Vjbpi7VBXhCFOlg&q-OArQ`exZJI$~N)OwfZp6%t*~)ll1cvYPf"
        "}zHZpCBN}?T*pCq1ZA8F?PnjPHc#oTK^6F$1q+a~xB4POI<wg3VpSV8SqJeDhr4iX!re6CPVv?f~E-~W66>w>=RaL@i;)7USZxRn$pd(rD#?|vHt"
        "-?nz|oz2nySP2O+ltuH(N8ELe+@rnH;Qj|AZw7!5-2%HA2E_YFeg7R6Ayn=c@B-b~WA+h>l`vm$<?FvTXqs2vP16`iHL`4;Q<7XEU*!;w+y{M6Od"
        "@{+{vU{9-9ET_?sKSy5r`A`&k()P_!d7fJ+iCDwf>eag^v434|E8TYriPhHEm6o@IAL?D2fZy)nM7r4<#!0DNVg!dxDHDVf7BB@1AaM#Y6B>R_Uy"
        "jhT&%UV#*F=bHw(ohif3+e0zZvcDJ`0Fr_y~sN1j3?-%YDVb_!xLVt=J!HXHwDN2em*F->%wTONKhlS9pQ1H0qtZIh5JR3s(!9D#uJ+Yk#P;|w;j"
        "j^}P*Fk&a4EMKhKKgx%+xd<szZM0ZP&w0nKl>#w;x#aK=zTPi6|YmS?q#q28J1w;R>|%Go0mjs=)d#MnEi!(Yi~WmK572Xe(yA&M;AWGr=R|`+>Z"
        "}cxwzC;pda_r%Q%HtTtKapFzFX-if(03D{jrcV0*(KTaig%C#Pn{?hkR!8XNW*7`4wV@rq32QGveZ<8%>YN5|jGrYL^mAk{7j==n`X3TwY^bnREe"
        "A|9Uyr{fA?pTu9ky}t3{7yrUQbG|S9x{v4G{RNNTM~A+DI?b?;Xrkm%jxQi2Lh4dlFZs>)W&I2He0ov{kATmz-Uqk*e-}2GwuCui_5<oIKXm1fem"
        "Yr}4+gLyE?d5`jr(XZ{5)=r+DA#X*ozrxtVjgnk{7zieLez#CzW3T0YQ7g(s54>OZ)9xqFqPZl}GGTdoJ%64ea9m8;HQ@R0oYR+s(qwgJxZ>JzRu"
        "ZPGyV^l>%Ax`{i^s*50KJYSnrmAMb_S`R;}Ezol<zI6mF%zgS?+T4<mP*<AhB&iehjtL#9bYWDl0@+!TQCT3#|0ilz@CRf1o0bQQ^1;Fkes1iK7g"
        "dgq*F@L`Zg^rXtfO_{kbOA8}$w4gp_O*}BnAP@cyz5^Z&!c8U)kjz}tXA+af*)qTsl7_^y<nOQvtq0>LH7aqADRermUI*QXk<cJ0KLT8>Uj6wU}V"
        "78^=lm_fh^$2i^iTP<JdH~^zO$(0P%ev%GfHmcOH`zV?dms1dyj;F;)KWO|IRVy*)pRCu@i*phnQaUXeIMaQ-rm%>5pPOeRT4*h*HcpLnKX&-ZRY"
        "o)5wvkhAn>zd@t6RP4jxdz1RjyL(Xnn4<bmNeh#6NM3WlDS>j|JCDm0cazRxU<^9o7{~B0eecJ@d>wb&4~K3+*!9k|x3!$sB=GhB*m+EOFDKfXS5"
        "XHIkSvV^1yKsW`~7<(@Z0D2+}h{)-P~tmG0rfecwkcT%i9-pofx~<5Q+~@IMnuaa<6br+@ZR^{5iMJ;vx}@HvZ0aKy}Bu?u>%RqcM!%Zqdz6>N3C"
        "@Fjw9frcd#5u0Wg_*fWr^@tZEMlkXkgzon`b{{5ZtRU5l}4EyzEAUnBW{f{rNx$pgwFp)WaxxV1-OIp=|`ew2Q62RABY--+r=7FU6{)QNzw~cQ_v"
        "Tw=m6aK+;1vL~~u}?URfh=L<(B`D*59*`nGDs{)%&&Vvlaj69eg_tU?qG%U(N2Pkl^mGckB6vC-qZ$nQU``ofR8{}4Sw6+b-n1?xkwr89fz-@0}0"
        "lxdgI6kBQM-FO0}yj&t2Hpt=@6*KTUm}ChZALMM(s=-*~cS?IS8=@3lgO{C>0aZzYhhRy$B?pJA&=lXV@slDay={*}bV^4ur>5P|p6Db|o&*Io{L"
        "HCSOU_w6+$KDDm8jTg6gn4LO52_-;xM?F_9=~+7moOo(*Ip6sT`PPa3-YEjowIht&+wd2L)169qk-$}DFJ6{^?g0hhu|SVQreJWzjzKc`>i;h63l"
        "T=tW|7;pV29C3aIL(}+F!gCB+-G^8+swrul@JE{EY_UQtG#ExcLbCxy(NE;vwd)nY}QIXPT(%x+P=&17zj7a-~NPH+Urn1pfVocBh=BRC7Swjq;X"
        "mpAX%C>jFO_tjwTTJ<vH8e<tLb6?jZ%wENWG+P-{~O-g1jm^%~>BDdpJ0XNu^;CcVss}!!_4`K3B@aq|Qj6;AfjMklMj`>h+HZ5<2Fs*^Z&fTM6V"
        "w@a*uf0phKg1c>gfo^#ZTYAKf*^g+QoC9GD*?dmfIi_)lCT7z9tMVC_$5gM(hQULcJK(i0|$O^fLIq9fCz7?mjew*EE}59D>T)BabJwT)ftIPK8;"
        "2I7|8l>MY@8O8r(%JOdD&v(!@ExuMebbTNr}tUTh8SE|n=kJ7{?yS__cErytLL6@33yDe=y6zhKNoh?T6$ubEul+d7bqy%rvT-;C}fef#YrEpEgf"
        "j>r^aME=6auZ`QsM(m}``k=xHyWcwZS&BOt#&<M93S3X<n<*tgdI|uDDL14Mc%jUL&fJ^J;)k2o2_w2skIG#Bj;+ppJVNUIw%9)V&HobU-@Da+e="
        "&#pukc8s4vLnD$RdT})(v5Q9)YIRpHls~UOS;MV!jqZF0~y-!gs>1rPULiUt*Wn^MxuP?C_71>lawrr9h&@Tp>VRQq76mI;BlVn5h|LBQFZdSU5z"
        "P&(A|axZq#L*sWmkSe8RG7C!U32a?}@6>-T}11N+f&hc!Sv$L(8W}IrP#dfv*M!?1nk%da|jP1EeFnO2@jHy!EYXn4%_PA-mqiy!4#?!n0As;;7%"
        "}j4>zhLu7*%T6eixQ*%67{3&X*WnmK=8h$@Kvq;`8!HVnSwG?vKN0Og*e*3cW_p6|4dX}*bPu9=DK&Sc>X&+u%y5cLh&<r<E9tvSMM$7D0Kbt*IN"
        "I*N&giEEZ4#45ydWhv{rL#t*2FL>pirP?D?Ru`2hoOde~PXSC(e>Qt)N>acB1vi@x?THLhp&cQe3#5&Lt){rKPRjsc~p*KtW4>O$ecoZZ#wNpes<"
        "A_#5}^1k1c->)oPy|uH?d9JUuVJfewr`q58UDtqSun8|(RYo>76npQPX)yMTuLfgV+@bvc7<;Bq#0;w%*FN~le;BZl-hI@hZ8u;0Z<N_^7m08CKm"
        ";<*rYQIS02$0pIR"
    )
)

BITS = np.frombuffer(HALF_BITS, np.uint8).copy()  # halves: a table that the processor's nearest cache holds
