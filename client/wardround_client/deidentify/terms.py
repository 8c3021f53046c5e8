"""Words that a rebuilt header may contain: defined terms of PS3.3 and PS3.16, and makers' names."""

from __future__ import annotations

import re


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


MAY_BE_EMPTY = _words(
    "AcquisitionContextSequence AnatomicRegionSequence BodyPartExamined DetectorType EchoTime"
    " EchoTrainLength InstanceNumber KVP Laterality MRAcquisitionType Manufacturer"
    " PatientOrientation PatientPosition PatientSex RadiopharmaceuticalInformationSequence"
    " RepetitionTime ScanOptions SliceThickness ViewCodeSequence ViewPosition"
)
"""Elements that an image must have, if only empty (type 2, PS3.5 7.4.3)."""
YES_NO = _words("YES NO")
SEX = _words("M F O")
SIDE = _words("L R U B")
IMAGE_TYPE = _words(
    "ORIGINAL DERIVED MIXED PRIMARY AXIAL LOCALIZER VOLUME PROJECTION ADD MULT DIV SUB MIN MAX MEAN"
    " STD MPR MIP MINIP AVERAGE NONE OTHER RESAMPLED QUANTITY DYNAMIC STATIC GATED REPROJECTION"
    " EMISSION TRANSMISSION WHOLE_BODY M_FFE M_SE M_IR FFE SE IR M ND NORM DIS2D DIS3D FM P PHASE"
    " MAGNITUDE REAL IMAGINARY CT_SOM5 SPI HELICAL DIFFUSION ADC TRACEW FA ANGIO TOF PERFUSION"
    " CINE FLOW_ENCODED T1 T2 T2_STAR PROTON_DENSITY FLUID_ATTENUATED STIR WATER FAT"
)
MODALITY = _words("CR DX MG CT MR PT")
ANY_MODALITY = _words(
    "AR AU BDUS BI BMD CR CT DG DOC DX ECG EPS ES FID GM HC HD IO IOL IVOCT IVUS KER KEY KO LEN LS"
    " MG MR NM OAM OCT OP OPM OPT OPV OSS OT PLAN PR PT PX REG RESP RF RG RTDOSE RTIMAGE RTPLAN"
    " RTRECORD RTSTRUCT RWV SC SEG SM SMR SR SRF STAIN TG US VA XA XC"
)
"""All of the standard's, for a report's words."""
BODY_PART = _words(
    "ABDOMEN ABDOMENPELVIS ADRENAL ANKLE AORTA ARM AXILLA BACK BLADDER BRAIN BREAST BRONCHUS"
    " CALCANEUS CALF CAROTID CEREBELLUM CERVIX CHEEK CHEST CHESTABDOMEN CHESTABDPELVIS"
    " CIRCLEOFWILLIS CLAVICLE COCCYX COLON CORNEA CORONARYARTERY CSPINE CTSPINE DUODENUM EAR"
    " ELBOW ESOPHAGUS EXTREMITY EYE EYELID FACE FEMUR FINGER FOOT GALLBLADDER HAND HEAD"
    " HEADNECK HEART HIP HUMERUS ILEUM ILIUM JAW JEJUNUM KIDNEY KNEE LARYNX LEG LIVER LSPINE"
    " LSSPINE LUNG MAXILLA MEDIASTINUM MOUTH NECK NECKCHEST NECKCHESTABDOMEN NECKCHESTABDPELV"
    " NOSE ORBIT OVARY PANCREAS PAROTID PATELLA PELVIS PENIS PHARYNX PROSTATE RECTUM RIB"
    " SACRUM SCALP SCAPULA SCLERA SCROTUM SHOULDER SINUS SKULL SPINE SPLEEN SSPINE STERNUM"
    " STOMACH SUBMANDIBULAR TESTIS THIGH THUMB THYMUS THYROID TLSPINE TMJ TOE TONGUE TRACHEA"
    " TSPINE TSSPINE ULNA URETER URETHRA UTERUS VAGINA VULVA WHOLEBODY WRIST ZYGOMA"
)
VIEW = _words(
    "AP PA LL RL RLD LLD RLO LLO CC MLO ML LM LMO XCCL XCCM SIO LATERAL OBLIQUE LAO RAO LPO RPO LAT"
)
PATIENT_POSITION = _words("HFS HFP HFDR HFDL FFS FFP FFDR FFDL LFP LFS RFP RFS AFDR AFDL PFDR PFDL")
INTENT = frozenset({"FOR PRESENTATION"})
PIXELS = _words("IDENTITY INVERSE LIN LOG DISP LINEAR SIGMOID LINEAR_EXACT GEOMETRY FIDUCIAL")
RESCALE_TYPE = _words("HU HU_MOD OD US MGML Z_EFF ED EDW PCT NORMALIZED")
LOSSY = _words("00 01 ISO_10918_1 ISO_14495_1 ISO_15444_1 ISO_15444_15 ISO_13818_2 ISO_14496_10")
SCAN = _words(
    "SE IR GR EP RM SK MTC SS TRSS SP MP OSP NONE 2D 3D PER RG CG PPG FC PFF PFP SP FS CARD_RM CARD"
    " CARDIAC RESP FAST_GEMS SAT_GEMS HELICAL AXIAL SEGMENTED HELIX BODY OTHER"
)
NUCLEAR = _words(
    "BQML CNTS CPS PROPCNTS PROPCPS GML CM2ML NONE START ADMIN EMISSION TRANSMISSION STATIC DYNAMIC"
    " GATED IMAGE REPROJECTION DECY ATTN SCAT DTIM MOTN PMOT CLN RAN RADL DCAL NORM DLYD SING FAN"
    " DECAY BW LBM BSA IBW LBMJAMES128 LBMJANMA"
)
"""Of PET images: units, corrections, and what a series is."""
PROJECTION = _words(
    "DIRECT SCINTILLATOR STORAGE FILM RECTANGLE ROUND HEXAGONAL CARM COLUMN CEILING MAMMOGRAPHIC"
    " PANORAMIC CEPHALOSTAT RIGID NONE UPRIGHT"
)
"""Of radiographs: detectors, fields of view, positioners."""
FRAME = (
    IMAGE_TYPE
    | SCAN
    | YES_NO
    | _words(
        "COLOR MONOCHROME VOLUME SAMPLED DISTORTED MIXED MAGNITUDE PHASE REAL IMAGINARY UNKNOWN"
        " DIRECTIONAL BMATRIX ISOTROPIC PRODUCT RESEARCH SERVICE PARALLEL PERPENDICULAR POINT"
        " SPIN_ECHO ADDITIVE SUBTRACTIVE RECTILINEAR RADIAL SPIRAL SINGLE PARTIAL FULL PHASE"
        " FREQUENCY BOTH COMBINATION SINE SURFACE VOLUME MULTICOIL BODY HEAD_BODY EXTREMITY"
        " WHOLE_BODY FILTERED ITERATIVE FILTER_BACK_PROJ SPIRAL SEQUENCED CONSTANT_ANGLE STATIONARY"
        " FREE 1H 3HE 7LI 13C 19F 23NA 31P 129XE IEC FDA MHW STANDARD FIRST_LEVEL SECOND_LEVEL"
        " PROSPECTIVE RETROSPECTIVE REALTIME BELLOWS BREATH_HOLD COMPLETE INCOMPLETE 3D 3D_TEMPORAL"
        " TILED_FULL TILED_SPARSE TURBO_FLASH GRADIENT WATER_FAT BALANCED"
    )
)
"""Of functional groups of enhanced CT, MR and PET images."""

KERNEL_GROUP = _words("BRAIN SOFT_TISSUE LUNG BONE CONSTANT_ANGLE")

MAKERS = {
    "AGFA": "Agfa",
    "CANON": "Canon",
    "CARESTREAM": "Carestream",
    "ELSCINT": "Elscint",
    "FUJI": "Fujifilm",
    "FUJIFILM": "Fujifilm",
    "GE": "GE",
    "GENERAL": "GE",
    "HITACHI": "Hitachi",
    "HOLOGIC": "Hologic",
    "KODAK": "Kodak",
    "KONICA": "Konica Minolta",
    "MARCONI": "Marconi",
    "NEUSOFT": "Neusoft",
    "PHILIPS": "Philips",
    "PICKER": "Picker",
    "SAMSUNG": "Samsung",
    "SHIMADZU": "Shimadzu",
    "SIEMENS": "Siemens",
    "TOSHIBA": "Toshiba",
    "UIH": "UIH",
    "UNITED": "UIH",
}
"""First word of Manufacturer, in capitals, to the name that is written."""
_KERNELS = _words(
    "STANDARD SOFT DETAIL BONE BONEPLUS LUNG EDGE CHEST ULTRA STND SMOOTH SHARP BRAIN BODY HEAD"
    " A B C D E F L"
)
_KERNEL_PREFIXES = (
    "B Bf Bl Br Bv C D FC H Hc Hf Hn Hp Hr Hv I J Q Qf Qr S Sa Sd Sh Sn T Tr Tx U Ub Uf Uh Ul Ur Us"
)
"""Of Siemens; ``FC`` of Canon and Toshiba. Other letters before digits may be initials and a year.
"""
_KERNEL = re.compile(rf"(?:{_KERNEL_PREFIXES.replace(' ', '|')})[0-9]{{2}}[dfhmsuv]?")
_LEVEL = re.compile(r"[0-9]")


def maker(text: str) -> str:
    """The maker's usual name, ``Other`` for one that is not known."""
    return MAKERS.get(re.split(r"[^A-Z]", text.upper(), maxsplit=1)[0], "Other")


def kernel(text: str) -> str:
    """A CT kernel of a usual form, such as ``B30f``, ``FC52`` or ``STANDARD``; else empty."""
    return (
        text
        if text.upper() in _KERNELS or _KERNEL.fullmatch(text) or _LEVEL.fullmatch(text)
        else ""
    )


def age(text: str) -> str:
    """PatientAge, rounded down to five years; empty if it cannot be read."""
    if not re.fullmatch(r"[0-9]{3}[DWMY]", text):
        return ""
    years = int(text[:3]) if text[3] == "Y" else 0
    return f"{min(90, years - years % 5):03}Y"


def orientation(text: str) -> str:
    """One value of PatientOrientation, such as ``L`` or ``AF``; else empty."""
    apart = not any(pair <= set(text) for pair in ({"A", "P"}, {"L", "R"}, {"H", "F"}))
    return text if apart and re.fullmatch(r"(?!.*(.).*\1)[APLRHF]{1,3}", text) else ""


def counter(text: str) -> str:
    """A number of at most three digits that is kept as text; else empty."""
    return text if re.fullmatch(r"[0-9]{1,3}", text) else ""
