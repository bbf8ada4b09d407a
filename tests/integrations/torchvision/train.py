"""A short stand-in for ``references/classification/train.py`` of torchvision: its flags, its names and its files.

What the page changes is found as it is there: the model on its device, the groups of parameters, the optimizer before
the scaler, the schedule, the average of weights, and checkpoints that are resumed.
"""

import argparse
import os

import torch
import torchvision
from torch import nn
from torchvision import transforms


def load_data(folder):
    return torchvision.datasets.ImageFolder(folder, transforms.ToTensor())


def set_weight_decay(model, weight_decay, norm_weight_decay):
    groups = {"other": [], "norm": []}
    for module in model.modules():
        kind = "norm" if isinstance(module, nn.BatchNorm2d) and norm_weight_decay is not None else "other"
        groups[kind] += [one for one in module.parameters(recurse=False) if one.requires_grad]
    decays = {"other": weight_decay, "norm": norm_weight_decay}
    return [{"params": found, "weight_decay": decays[kind]} for kind, found in groups.items() if found]


def train_one_epoch(model, criterion, optimizer, data_loader, device, model_ema):
    model.train()
    for image, target in data_loader:
        loss = criterion(model(image.to(device)), target.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if model_ema:
            model_ema.update_parameters(model)


def main(args):
    os.makedirs(args.output_dir, exist_ok=True)  # noqa: PTH103
    device = torch.device(args.device)
    torch.manual_seed(0)
    dataset = load_data(os.path.join(args.data_path, "train"))  # noqa: PTH118
    data_loader = torch.utils.data.DataLoader(dataset, batch_size=args.batch_size, num_workers=args.workers)

    model = torchvision.models.get_model(args.model, weights=args.weights, num_classes=len(dataset.classes))
    model.to(device)

    criterion = nn.CrossEntropyLoss()
    parameters = set_weight_decay(model, args.weight_decay, args.norm_weight_decay)
    if args.opt == "sgd":
        optimizer = torch.optim.SGD(parameters, lr=args.lr, momentum=args.momentum, weight_decay=args.weight_decay)
    else:
        optimizer = torch.optim.AdamW(parameters, lr=args.lr, weight_decay=args.weight_decay)

    scaler = None
    lr_scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=30, gamma=0.1)
    model_ema = None
    if args.model_ema:
        average = torch.optim.swa_utils.get_ema_multi_avg_fn(0.9)
        model_ema = torch.optim.swa_utils.AveragedModel(model, device, multi_avg_fn=average, use_buffers=True)

    start_epoch = 0
    if args.resume:
        torch.serialization.add_safe_globals([argparse.Namespace])
        checkpoint = torch.load(args.resume, map_location="cpu", weights_only=True)
        model.load_state_dict(checkpoint["model"])
        optimizer.load_state_dict(checkpoint["optimizer"])
        lr_scheduler.load_state_dict(checkpoint["lr_scheduler"])
        start_epoch = checkpoint["epoch"] + 1
        if model_ema:
            model_ema.load_state_dict(checkpoint["model_ema"])

    assert scaler is None
    for epoch in range(start_epoch, args.epochs):
        train_one_epoch(model, criterion, optimizer, data_loader, device, model_ema)
        lr_scheduler.step()
        checkpoint = {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "lr_scheduler": lr_scheduler.state_dict(),
            "epoch": epoch,
            "args": args,
        }
        if model_ema:
            checkpoint["model_ema"] = model_ema.state_dict()
        for name in (f"model_{epoch}.pth", "checkpoint.pth"):
            torch.save(checkpoint, os.path.join(args.output_dir, name))  # noqa: PTH118


def get_args_parser():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-path", default="images")
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("-b", "--batch-size", default=32, type=int)
    parser.add_argument("--epochs", default=90, type=int)
    parser.add_argument("-j", "--workers", default=16, type=int)
    parser.add_argument("--opt", default="sgd")
    parser.add_argument("--lr", default=0.1, type=float)
    parser.add_argument("--momentum", default=0.9, type=float)
    parser.add_argument("--wd", "--weight-decay", default=1e-4, type=float, dest="weight_decay")
    parser.add_argument("--norm-weight-decay", default=None, type=float)
    parser.add_argument("--output-dir", default=".")
    parser.add_argument("--resume", default="")
    parser.add_argument("--model-ema", action="store_true")
    parser.add_argument("--weights", default=None)
    return parser


if __name__ == "__main__":
    main(get_args_parser().parse_args())
