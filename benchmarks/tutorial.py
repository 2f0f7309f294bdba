"""The loop that a tutorial of distillation would write; kept as it is, to compare with."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from turns import Pause

from potstill.data.loaders.in_memory import Images

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


class PilImages(Dataset):
    """Images one by one through PIL and torchvision's transforms."""

    def __init__(self, photos: Images) -> None:
        self.images = photos.images.permute(0, 2, 3, 1).numpy()
        self.targets = photos.targets.tolist()
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return an image and its label."""
        image = Image.fromarray(np.ascontiguousarray(self.images[index]))
        return self.transform(image), self.targets[index]


def tutorial(
    photos: Images,
    batch_size: int,
    make: Callable[[], nn.Module],
    teacher: nn.Module,
    device: torch.device,
    pause: Pause,
) -> None:
    """Distil as a blog would: PIL in a DataLoader, float32, the teacher run at every step."""
    temperature, alpha = 4.0, 0.9
    loader = DataLoader(PilImages(photos), batch_size, shuffle=True, drop_last=True)
    student = make().to(device)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    running_loss = 0.0
    student.train()
    teacher.to(device).eval()
    for images, labels in loader:
        pause()
        images, labels = images.to(device), labels.to(device)
        optimizer.zero_grad()
        with torch.no_grad():
            teacher_logits = teacher(images)
        student_logits = student(images)
        soft_targets = F.softmax(teacher_logits / temperature, dim=1)
        soft_prob = F.log_softmax(student_logits / temperature, dim=1)
        kd_loss = F.kl_div(soft_prob, soft_targets, reduction="batchmean") * temperature**2
        label_loss = F.cross_entropy(student_logits, labels)
        loss = alpha * kd_loss + (1 - alpha) * label_loss
        loss.backward()
        optimizer.step()
        running_loss += loss.item()
