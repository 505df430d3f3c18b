"""What of a processor decides which kernels run on it, read out of texts as Linux writes them."""

from __future__ import annotations

import platform

from engines.machine import cpu, described

INTEL = """processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Some CPU @ 2.00GHz
cpu MHz\t\t: 2000.123
flags\t\t: fpu sse4_2 avx2 fma avx512f avx amx_int8 hypervisor

processor\t: 1
model name\t: Another CPU
flags\t\t: fpu
"""
ARM = """processor\t: 0
BogoMIPS\t: 50.00
Features\t: fp asimd asimddp i8mm
CPU implementer\t: 0x41
CPU part\t: 0xd40
"""


def test_the_first_processor_s_name_and_its_vector_instructions() -> None:
    assert described(INTEL) == "Some CPU @ 2.00GHz sse4_2 avx avx2 fma avx512f amx_int8"


def test_what_changes_from_start_to_start_does_not_count() -> None:
    assert described(INTEL) == described(INTEL.replace("2000.123", "1833.000").replace("hypervisor", ""))
    shuffled = INTEL.replace("sse4_2 avx2 fma", "fma sse4_2 avx2")
    assert described(INTEL) == described(shuffled)


def test_an_instruction_more_or_less_is_another_device() -> None:
    assert described(INTEL) != described(INTEL.replace(" avx512f", ""))


def test_an_arm_processor_without_a_name() -> None:
    assert described(ARM) == f"{platform.machine()} part 0xd40 asimd asimddp i8mm"


def test_nothing_known_is_still_a_name() -> None:
    assert described("") == f"{platform.machine()} part unknown"


def test_this_machine_has_one() -> None:
    assert cpu() == cpu() != ""
    assert cpu().isprintable()
