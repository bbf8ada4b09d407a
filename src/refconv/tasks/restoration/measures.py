"""What restoration measures."""

from refconv.task_measures import DECIBEL, NUMBER, Measure, TaskMeasures

_LUMA = "luma of 8-bit images, mean over images"
"""How ``psnr`` and ``ssim`` are defined in records that do not say it themselves."""

MEASURES = TaskMeasures(
    (
        Measure("psnr", "PSNR", scale=DECIBEL, resolve=0.05, note=_LUMA),
        Measure("psnr_rgb", "PSNR of RGB", scale=DECIBEL),
        Measure("psnr_luma", "PSNR of luma", scale=DECIBEL),
        Measure("ssim", "SSIM", scale=NUMBER, note=_LUMA),
        Measure("ssim_rgb", "SSIM of RGB", scale=NUMBER, note="mean over the channels"),
        Measure("ssim_luma", "SSIM of luma", scale=NUMBER),
        Measure("loss", "loss", long="mean absolute difference", scale=NUMBER, larger_is_better=False),
        Measure("input_psnr", "PSNR of the input", long="PSNR of the input itself", scale=DECIBEL, compared=False),
        Measure("input_ssim", "SSIM of the input", long="SSIM of the input itself", scale=NUMBER, compared=False),
    )
)
