"""Small networks with the module structure and the forward pass of torchvision's and timm's."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH, CLASSES = 12, 5


def stem(width: int = WIDTH) -> nn.Sequential:
    """16x16 images to a 4x4 map of values above and below zero."""
    first = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True)
    return nn.Sequential(*first, nn.Conv2d(8, width, 3, stride=2, padding=1), nn.BatchNorm2d(width))


class Block(nn.Module):
    """A residual block whose one ReLU, in place, serves twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(self.relu(self.conv(x)))
        y += x
        return self.relu(y)


class ResNet(nn.Module):
    """torchvision.models.resnet: layers, avgpool, flatten, fc."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.layer4 = stem(), nn.Sequential(Block(), Block())
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.flatten(self.avgpool(self.layer4(self.conv1(x))), 1))


class MobileNet(nn.Module):
    """torchvision's mobilenet_v2 and efficientnet: a pooling function, dropout before the head."""

    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__()
        self.features = nn.Sequential(stem(), nn.ReLU6())
        drop = nn.Dropout(dropout, inplace=True)
        self.classifier = nn.Sequential(drop, nn.Linear(WIDTH, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        x = F.adaptive_avg_pool2d(self.features(x), (1, 1))
        return self.classifier(torch.flatten(x, 1))


class DenseNet(nn.Module):
    """torchvision's densenet: a ReLU function in place between the last layer and the pool."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.classifier = stem(), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.features(x), inplace=True)
        return self.classifier(torch.flatten(F.adaptive_avg_pool2d(x, (1, 1)), 1))


class ShuffleNet(nn.Module):
    """torchvision's shufflenet_v2 and mnasnet: the mean taken by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.conv5, self.fc = nn.Sequential(stem(), nn.ReLU()), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv5(x).mean([2, 3]))


class SqueezeNet(nn.Module):
    """torchvision's squeezenet: a 1x1 convolution gives the logit map, which is pooled."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(stem(), nn.ReLU())
        head = nn.Conv2d(WIDTH, CLASSES, 1), nn.ReLU(), nn.AdaptiveAvgPool2d((1, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.0), *head)

    def forward(self, x: Tensor) -> Tensor:
        return torch.flatten(self.classifier(self.features(x)), 1)


class FullyConvolutional(nn.Module):
    """A logit map whose mean is taken by hand: no layer reads an average."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Sequential(stem(), nn.ReLU()), nn.Conv2d(WIDTH, CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x)).mean((2, 3))


class PooledConvolution(nn.Module):
    """timm's mobilenetv3 and its kin: the head is a 1x1 convolution on the pooled map."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks, self.global_pool = nn.Sequential(stem(), nn.ReLU()), nn.AdaptiveAvgPool2d(1)
        self.head = nn.Conv2d(WIDTH, CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.global_pool(self.blocks(x))).flatten(1)


class LayerNorm2d(nn.LayerNorm):
    """Norm over the channels of a map."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNeXt(nn.Module):
    """torchvision's convnext: norm, flatten and linear layer in the classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.avgpool = stem(), nn.AdaptiveAvgPool2d(1)
        head = LayerNorm2d(WIDTH), nn.Flatten(1), nn.Linear(WIDTH, CLASSES)
        self.classifier = nn.Sequential(*head)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(x)))


class SelectAdaptivePool2d(nn.Module):
    """timm's pooling layer; channels_last pools (n, h, w, d)."""

    def __init__(self, channels_last: bool = False) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.channels_last = channels_last

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((1, 2)) if self.channels_last else self.pool(x).flatten(1)


class ClassifierHead(nn.Module):
    """timm.layers.ClassifierHead: takes the map."""

    def __init__(self, channels_last: bool = False) -> None:
        super().__init__()
        self.global_pool = SelectAdaptivePool2d(channels_last)
        self.drop, self.fc = nn.Dropout(0.0), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.drop(self.global_pool(x)))


class NormMlpClassifierHead(nn.Module):
    """timm.layers.NormMlpClassifierHead, the head of its convnext: pool, norm, linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.global_pool, self.norm = nn.AdaptiveAvgPool2d(1), LayerNorm2d(WIDTH)
        self.flatten, self.fc = nn.Flatten(1), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.flatten(self.norm(self.global_pool(x))))


class TimmNet(nn.Module):
    """timm's forward: forward_features, then forward_head with a head that takes the map."""

    def __init__(self, head: nn.Module, channels_last: bool = False) -> None:
        super().__init__()
        self.stages, self.head, self.channels_last = stem(), head, channels_last
        self.norm = nn.LayerNorm(WIDTH) if channels_last else nn.Identity()

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.stages(x)
        return self.norm(x.permute(0, 2, 3, 1) if self.channels_last else x)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.forward_features(x))


class TimmResNet(nn.Module):
    """timm's resnet: global_pool, dropout as a function, fc."""

    def __init__(self, drop_rate: float = 0.0) -> None:
        super().__init__()
        self.layer4, self.drop_rate = nn.Sequential(stem(), nn.ReLU()), drop_rate
        self.global_pool, self.fc = SelectAdaptivePool2d(), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.global_pool(self.layer4(x))
        return self.fc(F.dropout(x, self.drop_rate, self.training))


class ViT(nn.Module):
    """timm's vision transformer: patches, tokens in front, norm, pool, fc_norm, head."""

    def __init__(self, pool: str = "token", front: int = 1, fc_norm: bool = False) -> None:
        super().__init__()
        self.patch_embed, self.pool, self.front = nn.Conv2d(3, WIDTH, 4, stride=4), pool, front
        self.cls_token = nn.Parameter(torch.randn(1, front, WIDTH))
        self.pos_embed = nn.Parameter(torch.randn(1, front + 16, WIDTH))
        layer = {"dim_feedforward": 24, "dropout": 0.0, "batch_first": True, "norm_first": True}
        self.blocks = nn.ModuleList([nn.TransformerEncoderLayer(WIDTH, 2, **layer)])
        self.norm = nn.LayerNorm(WIDTH)
        self.fc_norm = nn.LayerNorm(WIDTH) if fc_norm else nn.Identity()
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(len(x), -1, -1), x), 1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        x = x[:, 0] if self.pool == "token" else x[:, self.front :].mean(1)
        return self.head(self.fc_norm(x))


class VGG(nn.Module):
    """torchvision's vgg: the head reads every position of the map by weights of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.avgpool = nn.Sequential(stem(), nn.ReLU()), nn.AdaptiveAvgPool2d(2)
        self.classifier = nn.Sequential(nn.Linear(4 * WIDTH, 9), nn.ReLU(), nn.Linear(9, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


class MobileNetV3(nn.Module):
    """torchvision's mobilenet_v3: two linear layers after the pool."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.features, self.avgpool = nn.Sequential(stem(), nn.ReLU()), nn.AdaptiveAvgPool2d(1)
        last = nn.Hardswish(), nn.Dropout(dropout), nn.Linear(9, CLASSES)
        self.classifier = nn.Sequential(nn.Linear(WIDTH, 9), *last)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


class Wrapped(nn.Module):
    """A model inside another, as in DistributedDataParallel; gives what a test asks for."""

    def __init__(self, module: nn.Module, gives=lambda logits: logits) -> None:
        super().__init__()
        self.module, self.gives = module, gives

    def forward(self, x: Tensor):
        return self.gives(self.module(x))
