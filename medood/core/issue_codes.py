"""What the issue codes mean: what is odd about a series or an image, and was read all the same."""

from __future__ import annotations

_UNSURE = "the header leaves it out, and the only value that makes sense was taken"

WORDS = {
    # of DICOM series
    "mixed_geometry": "the series holds images of several sizes, directions or spacings, which became entries of their own",
    "multiple_volumes_in_series": "the series holds several volumes (phases, echoes, b-values), which became entries of their own",
    "localizer_excluded": "overview images in the series were left out",
    "localizer": "an overview image (localizer, scout)",
    "nonuniform_spacing": "the distances between the slices differ, perhaps because one is missing",
    "duplicate_positions": "several slices lie at one position",
    "duplicate_sop_instance": "an image is there twice",
    "gantry_tilt": "the slices are tilted against their stack (degrees); maps keep the tilt in NRRD only",
    "no_patient_geometry": "the header does not say where the images lie in the patient",
    "per_slice_rescale": "the slices have scales of their own, which were applied",
    "imager_spacing_used": "pixel sizes are those at the detector, larger than in the patient",
    "series_uid_reused": "the same series UID was given to so many series or patients, which were told apart",
    "sop_uid_reused": "the same image UID was given to different images, which were told apart",
    "series_uid_per_slice": "every slice had a series UID of its own; they became one series",
    "study_uid_per_slice": "every slice had a study UID of its own; they became one series",
    "frame_of_reference_per_slice": "every slice had a frame of reference of its own; they became one series",
    "frames_of_reference": "the series lies in several frames of reference, which became entries of their own",
    "single_slice_series": "so many series of one slice became one volume",
    "monochrome1_inverted": "stored with white as low, and turned round",
    "padding_voxels": "so many voxels hold no signal; they are outside the body",
    "derived": "computed from other images",
    "lossy": "compressed with loss",
    "burned_in": "may show text, and names, in the pixels",
    "excess_pixel_data": "the pixel data are longer than the header says; the end was left out",
    "colour_space_corrected": "the header names another colour space than the pixels are in; that of the pixels was taken",
    "decoder_warning": "a decoder complained of the pixel data: look at the image",
    "photometric_interpretation_assumed": f"how grey or colour is stored: {_UNSURE}",
    "samples_per_pixel_assumed": f"the number of channels: {_UNSURE}",
    "planar_configuration_assumed": f"the order of the channels: {_UNSURE}",
    "pixel_representation_assumed": f"signed or unsigned: {_UNSURE}",
    "bits_stored_assumed": f"how many bits count: {_UNSURE}",
    "high_bit_ignored": "the header's high bit makes no sense and was not followed",
    # of NIfTI files
    "orientation_unknown": "the header does not say how the volume lies; left and right may be swapped",
    "sform_qform_differ": "the two places that the header gives the volume contradict each other; the sform was taken",
    "sform_unusable": "the sform of the header is singular or not a number; the qform was taken",
    "qform_unusable": "the qform of the header is singular or not a number; the sform was taken",
    "sheared": "the axes are not at right angles; maps keep that in NRRD only",
    "not_finite_set_to_zero": "so many voxels were not a number, and are 0 now",
    # of pictures
    "reduced_to_8_bit": "colours of 16 bits were reduced to 8",
    "further_samples_dropped": "only the first channel was read; the others do not say what they are",
    "alpha_dropped": "transparency was left out",
    "inverted_within_own_range": "stored with white as low, and turned round within its own range",
    # of masks, labels and maps
    "no_labels": "its labels could not be found, so it is not trained on",
    "mask_fills_volume": "its lesion mask fills the whole volume: is it one?",
    "sheared_map_as_nrrd": "its map is NRRD although NIfTI was asked for, which cannot hold its grid",
    "no_map": "its map could not be written",
    "worker_died": "two processes died while they read or scored it",
    "no_dicom_objects": "no DICOM objects could be made of what was found in it",
}


def explained(code: str) -> str:
    """The meaning of a code, without what follows its colon; a code that nobody explained says it with its own words."""
    name = code.partition(":")[0]
    return WORDS.get(name, name.replace("_", " "))
