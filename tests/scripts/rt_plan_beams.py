"""List the beams of a radiotherapy plan with their gantry angles and dose."""

import sys

import pydicom

plan = pydicom.dcmread(sys.argv[1])
print("plan:", plan.RTPlanLabel, "of", plan.PatientName, "on", plan.get("RTPlanDate", "?"))
doses = {}
for group in plan.FractionGroupSequence:
    print("fraction group", group.FractionGroupNumber, "fractions", group.NumberOfFractionsPlanned)
    for reference in group.ReferencedBeamSequence:
        doses[reference.ReferencedBeamNumber] = reference.get("BeamDose", 0.0)
for beam in plan.BeamSequence:
    points = beam.ControlPointSequence
    isocenter = points[0].IsocenterPosition
    print(
        f"beam {beam.BeamNumber:2} {beam.BeamName:<12} gantry {points[0].GantryAngle:6.1f}"
        f" ssd {points[0].SourceToSurfaceDistance / 10:5.1f} cm"
        f" dose {doses.get(beam.BeamNumber, 0):.3f}"
    )
    print(
        "  isocenter", [round(v, 2) for v in isocenter], f"energy {points[0].NominalBeamEnergy:.1f}"
    )
    for number, device in enumerate(beam.BeamLimitingDeviceSequence):
        print("  device", number, device.RTBeamLimitingDeviceType, device.NumberOfLeafJawPairs)
    for device in points[0].BeamLimitingDevicePositionSequence:
        print(
            "  position",
            device.RTBeamLimitingDeviceType,
            [f"{v:.1f}" for v in device.LeafJawPositions[:2]],
        )
    print(f"  meterset at the end {points[-1].CumulativeMetersetWeight:.3f}")
print(len(plan.BeamSequence), "beams,", len(plan.DoseReferenceSequence), "dose references")
