"""A small network with attention, as detectors have it."""

from torch import Tensor, nn

from spiking_yolo.graph.modules import Attention


class Attending(nn.Module):
    """Attention of two heads with a positional convolution, two residual sums. [N, 3, 8, 8]."""

    def __init__(self, areas: int = 1):
        super().__init__()
        self.stem, self.act1 = nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.SiLU()
        self.q, self.k, self.v = nn.Conv2d(6, 4, 1), nn.Conv2d(6, 4, 1), nn.Conv2d(6, 6, 1)
        self.pe = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.attention = Attention(2, areas)
        self.proj = nn.Conv2d(6, 6, 1)
        self.ffn1, self.act2, self.ffn2 = nn.Conv2d(6, 8, 1), nn.SiLU(), nn.Conv2d(8, 6, 1)
        self.head = nn.Conv2d(6, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act1(self.stem(x))
        v = self.v(x)
        x = x + self.proj(self.attention(self.q(x), self.k(x), v) + self.pe(v))
        x = x + self.ffn2(self.act2(self.ffn1(x)))
        return self.head(x)
