"""What restoration measures."""

from refconv.task_measures import DECIBEL, NUMBER, Measure, TaskMeasures

_LUMA = "luma of 8-bit images, mean over images"
"""How ``psnr`` and ``ssim`` are defined in records that do not say it themselves."""

MEASURES = TaskMeasures(
    (
        Measure(name="psnr", label="PSNR", scale=DECIBEL, resolve=0.05, note=_LUMA),
        Measure(name="psnr_rgb", label="PSNR of RGB", scale=DECIBEL),
        Measure(name="psnr_luma", label="PSNR of luma", scale=DECIBEL),
        Measure(name="ssim", label="SSIM", scale=NUMBER, note=_LUMA),
        Measure(name="ssim_rgb", label="SSIM of RGB", scale=NUMBER, note="mean over the channels"),
        Measure(name="ssim_luma", label="SSIM of luma", scale=NUMBER),
        Measure(name="loss", label="loss", long="mean absolute difference", scale=NUMBER, larger_is_better=False),
        Measure(
            name="input_psnr", label="PSNR of the input", long="PSNR of the input itself", scale=DECIBEL, compared=False
        ),
        Measure(
            name="input_ssim", label="SSIM of the input", long="SSIM of the input itself", scale=NUMBER, compared=False
        ),
    )
)
