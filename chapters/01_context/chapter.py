# %% [markdown]
# # 01 · Context
#
# **How can the same patch of pixels mean different things?**
#
# You read a photograph as a whole. A camera delivers it as numbers, pixel by pixel, and a
# pixel knows nothing of its neighbours. At the end of this chapter you will have found twins
# among the patches of real photographs, two that look alike and are not the same thing, and you
# will have seen which kind of context tells them apart, and which kinds don't.

# %% [markdown]
# ## What you will be able to do
#
# - say why a scene is more than a list of objects;
# - cut any image into patches, and put it together again;
# - find for each patch the one most like it;
# - sum up the surroundings in one vector, without the padding;
# - predict which context a simple model can use.
#
# **Time**: about 75 minutes. **You need** chapter 00: tensors, their shapes, dot products.

# %%
import torch
import torch.nn.functional as F
from sklearn.neighbors import NearestNeighbors
from torch import Tensor, nn

from attention_course.learn import check, device, experiments, figures, photos
from attention_course.learn.scenes import make_scenes

# %% [markdown]
# ## One ball, two stories
#
# Here are the centres of two scenes, 8 by 8 pixels each. **Predict**: from what you see, in
# which of the two was the ball passed to a friend, and in which was it shot at the goal?

# %%
scenes = make_scenes(40, seed=3)
side = scenes.patch  # 8 pixels
shot = int((scenes.labels == 0).int().argmax())  # the first scene with each label
back_pass = int((scenes.labels == 1).int().argmax())
pair = scenes.images[[shot, back_pass]]  # (scene, channel, height, width)

row, column = divmod(scenes.centre_patch, scenes.grid)
top, left = row * side, column * side
centres = pair[:, :, top : top + side, left : left + side]
print("equal in every pixel:", torch.equal(centres[0], centres[1]))

# %%
figure = figures.images(
    centres,
    ["centre of scene A", "centre of scene B"],
    title="Two balls, and no pixel to tell them apart",
    size=1.6,
)
figures.show(
    figure,
    alt="Two enlarged patches of 8 by 8 pixels, each showing the same black and white ball "
    "on a green lawn.",
    data={"patch A": centres[0], "patch B": centres[1]},
)

# %% [markdown]
# You can't. Nobody can: the numbers are the same. Now take a step back.

# %%
figure = figures.images(
    pair,
    ["scene A", "scene B"],
    title="The same ball, seen with all that is around it",
)
figures.show(
    figure,
    alt="Two scenes of 7 by 7 patches on a lawn. In both a ball lies in the centre, among "
    "players in hooped, striped and plain shirts, trees, cones and flowers. One player "
    "stands on sand and kicks, one stands in a goal.",
)

# %% [markdown]
# Many players, but only two of them matter: the one on the sand has kicked the ball, the one
# before the net is the keeper. If the two wear the **same shirt**, the ball is a *back pass*.
# If their shirts **differ**, it is a *shot*.
#
# **Predict**: which of the two scenes is the shot?


# %%
def box(index: int) -> tuple[int, int, int, int]:
    """Row, column, height and width, in pixels, of the patch with this number."""
    row, column = divmod(index, scenes.grid)
    return row * side, column * side, side, side


markers = scenes.marker_patches[[shot, back_pass]].tolist()  # kicker and keeper

# %%
figure = figures.images(
    pair,
    [f"scene A: a {scenes.label_names[0]}", f"scene B: a {scenes.label_names[1]}"],
    title="What the ball is, two players far away from it decide",
    highlight=[[box(index) for index in two] for two in markers],
)
figures.show(
    figure,
    alt="The same two scenes, with a frame around the kicker on the sand and one around the "
    "keeper in the goal. In scene A their shirts differ, in scene B they are the same.",
)

# %% [markdown]
# ## What a scene is
#
# An object detector would list both scenes alike: a ball, nine players, a goal, some trees.
# The list is right, and it misses the point. **Scene understanding** asks what is going on,
# and reads it from the whole picture.
#
# The lecture notes from which this course grew open with that thought: even where the local
# feature is the same, its meaning depends on the global context.

# %% [markdown]
# It is how you see, too. One and the same blurred shape is taken for a hairdryer in a bathroom
# and for a drill in a workshop (Bar 2004). People find an object faster where it belongs
# (Oliva and Torralba 2007). And from the rough layout of a photograph alone a model can say
# which objects to expect, and where, before it has looked at any of them (Torralba 2003).

# %% [markdown]
# To make this something you can compute, we need three things: the parts, a way to compare
# them, and a way to bring in the rest.

# %% [markdown]
# ## The parts: patches
#
# A pixel is too small to mean anything, and there are too many of them. So cut the image into
# squares, its **patches**, and treat each one as a word: a picture becomes a sentence. That is
# how the Vision Transformer begins (Dosovitskiy et al. 2021).
#
# Torch keeps a batch of images as (B, C, H, W): batch, channels, height, width. Here is one
# image with one channel, 4 pixels high and 6 wide.

# %%
tiny = torch.arange(24).reshape(1, 1, 4, 6)  # (batch, channel, height, width)
print(tiny[0, 0])

# %% [markdown]
# With patches of side 2 there are two rows of three. They are numbered as you read a page,
# **along each row first**. **Predict** the four numbers of patch 2 and of patch 3.

# %%
print("patch 0:", tiny[0, 0, 0:2, 0:2].flatten().tolist())
print("patch 2:", tiny[0, 0, 0:2, 4:6].flatten().tolist())
print("patch 3:", tiny[0, 0, 2:4, 0:2].flatten().tolist())

# %% [markdown]
# Six patches of four numbers. Then why not just ask for that shape? **Predict** the first row
# of `tiny.reshape(6, 4)`.

# %%
print(tiny.reshape(6, 4))

# %% [markdown]
# The right shape, and not one patch in it: row 0 is a strip of the image's top line, row 1 goes
# around a corner. `reshape` cuts a long line of numbers and never moves one past another. A
# patch takes two numbers from here and two from the line below. No error will tell you; only
# the numbers do.

# %% [markdown]
# **Colours.** With several channels a patch holds all of channel 0 first, then all of channel 1,
# and so on: *channel-first*. **Predict** the vector of patch 0 for this image, whose second
# channel is the first plus 100.

# %%
two_channels = torch.cat([tiny, tiny + 100], dim=1)  # (1, 2, 4, 6)
print("patch 0:", two_channels[0, :, 0:2, 0:2].flatten().tolist())

# %% [markdown] exercise="patchify"
# ### Exercise: patchify  ·  12 min  ·  ●●○
#
# Cut a batch of images (B, C, H, W) into patches: return (B, N, C·patch·patch) with
#
# $$N = \frac{H}{P} \cdot \frac{W}{P}$$
#
# patches in reading order, channel-first inside. H and W may differ; `patch` divides both.
# There may be any number of channels. Leave the image as it is and let gradients through.
#
# <details><summary>Hint</summary>
#
# Give every index a dimension of its own: B, C, row of patches, row inside, column of patches,
# column inside. Then bring them into the order of the result (`permute`), and only then join
# dimensions (`reshape`). Two loops over slices are right as well.
# </details>


# %% answer="patchify"
def patchify(image: Tensor, patch: int) -> Tensor:
    """Cut images into patches, in reading order, channel-first inside.

    image: (B, C, H, W); patch divides H and W. Returns (B, N, C * patch * patch).
    """
    ### BEGIN SOLUTION
    batch, channels, height, width = image.shape
    rows, columns = height // patch, width // patch
    tiles = image.reshape(batch, channels, rows, patch, columns, patch)
    tiles = tiles.permute(0, 2, 4, 1, 3, 5)  # (batch, row, column, channel, y, x)
    return tiles.reshape(batch, rows * columns, channels * patch * patch)
    ### END SOLUTION


# %% check="patchify" points=4
check(patchify)

# %% [markdown]
# Torch can do it, too: `F.unfold` slides a window over the image, here without overlap, and
# writes what it sees into columns, (B, C·patch·patch, N). Turned around, that is our list of
# tokens. On a photograph of 192 by 192 pixels, with patches of 32:

# %%
squares = photos.photographs(192)  # name: (3, 192, 192), values from 0 to 1
china = squares["china"][None]  # (1, 3, 192, 192)
tokens = F.unfold(china, kernel_size=32, stride=32).mT  # (batch, token, 3*32*32)
print("tokens:", tuple(tokens.shape))

# %%
figure = figures.images(
    tokens[0].unflatten(1, (3, 32, 32)),  # (token, channel, height, width)
    title="What a model receives: 36 patches, one after the other",
    columns=9,
    size=0.7,
)
figures.show(
    figure,
    alt="The patches of a photograph, in four rows of nine: pieces of sky, of roofs and of "
    "trees. The building is hard to recognise.",
)

# %% [markdown]
# **Why channel-first?** In a model the first thing that happens to a patch is a linear map. In
# practice it is written as a convolution whose step is as long as its window:
# `nn.Conv2d(3, d, kernel_size=patch, stride=patch)`. **Predict**: is that the same as a matrix
# product with the patch vectors?

# %%
with torch.random.fork_rng(devices=[]):
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 5, kernel_size=32, stride=32, dtype=torch.float64).to(device)

image = china.double().to(device)
patch_vectors = F.unfold(image, 32, stride=32).mT  # (batch, token, pixel)
by_matrix = patch_vectors @ conv.weight.flatten(1).T + conv.bias  # (batch, token, 5)
by_conv = conv(image).flatten(2).mT  # (batch, token, 5)
print("same numbers:", torch.allclose(by_matrix, by_conv, rtol=0, atol=1e-10))

# %% [markdown]
# The same, because the weights of a convolution lie channel-first and the patches in reading
# order. Had you cut the patches in another order, the result would be wrong, with no error.

# %% [markdown]
# ## And back again
#
# A cut that loses nothing can be undone. That is how a model that computes on patches gives an
# image back. Don't take it for a test of the cut, though: swap H and W in both directions, and
# the round trip looks perfect.

# %% [markdown] exercise="unpatchify"
# ### Exercise: unpatchify  ·  10 min  ·  ●●○
#
# Undo `patchify`: from patches (B, N, C·patch·patch) and the size of the image return
# (B, C, height, width). The number of channels follows from the last dimension. `height` and
# `width` are in pixels, and may differ.
#
# <details><summary>Hint</summary>
#
# The same six dimensions, in the other direction. First split: N into rows and columns, the
# last dimension into channel, y and x. Then `permute` until each side of the image has its two
# dimensions next to each other, the outer one first.
# </details>


# %% answer="unpatchify"
def unpatchify(patches: Tensor, patch: int, height: int, width: int) -> Tensor:
    """Join patches to images: the inverse of patchify.

    patches: (B, N, C * patch * patch), in reading order, channel-first inside.
    Returns (B, C, height, width).
    """
    ### BEGIN SOLUTION
    rows, columns = height // patch, width // patch
    tiles = patches.unflatten(2, (-1, patch, patch)).unflatten(1, (rows, columns))
    tiles = tiles.permute(0, 3, 1, 4, 2, 5)  # (batch, channel, row, y, column, x)
    return tiles.reshape(len(patches), -1, height, width)
    ### END SOLUTION


# %% check="unpatchify" points=3
check(unpatchify)

# %% [markdown]
# Now a cruel experiment. Keep every patch of the photograph, and change nothing but their
# order. Torch's way back is `F.fold`. **Predict**: what will you still recognise?

# %%
order = torch.randperm(144, generator=torch.Generator().manual_seed(1))
columns = F.unfold(china, kernel_size=16, stride=16)  # (batch, pixel, token)
shuffled = F.fold(columns[:, :, order], (192, 192), kernel_size=16, stride=16)

figure = figures.images(
    [china[0], shuffled[0]],
    ["as it was", "the same 144 patches, shuffled"],
    title="Every patch is still there; the scene is gone",
)
figures.show(
    figure,
    alt="On the left a photograph of a tall pavilion above a lake. On the right its patches "
    "in random order: sky, roofs and trees are mixed, and no building can be seen.",
)

# %% [markdown]
# Sky is still sky, and somewhere there is red wood. What has been lost is no patch. It is how
# they belong together. (For a model, order is hard to come by: that is chapter 07.)

# %% [markdown]
# ## How alike are two patches?
#
# A patch is a vector, so measure the length of the difference: the Euclidean distance
#
# $$\lVert a - b \rVert = \sqrt{\textstyle\sum_i (a_i - b_i)^2}$$
#
# Four grey patches of 2 by 2 pixels. **Predict** by hand: the distance from A to B, and from A
# to C. Which patch is nearest to C?

# %%
grey = {"A": [0, 0, 9, 9], "B": [3, 0, 9, 5], "C": [0, 9, 0, 9], "D": [0, 9, 2, 9]}
vectors = torch.tensor(list(grey.values()), dtype=torch.float64, device=device)
for name, vector in zip(grey, vectors, strict=True):
    lengths = torch.linalg.vector_norm(vectors - vector, dim=1)  # (patch,)
    print(f"from {name}:", "  ".join(f"{x:5.2f}" for x in lengths.tolist()))

# %% [markdown]
# A to B: $\sqrt{3^2 + 0 + 0 + 4^2} = 5$. And look at the diagonal: the smallest number of every
# row is 0, a patch's distance to *itself*. Whoever asks for the nearest patch wants the nearest
# **other** one.
#
# It would be wrong to rule out every 0, though. Two different patches may be equal in every
# pixel, like the balls above. Such a twin is as near as can be.

# %% [markdown] exercise="nearest_patch"
# ### Exercise: the nearest patch  ·  10 min  ·  ●●○
#
# For each of N patches, (N, D), find the nearest *other* patch by Euclidean distance:
#
# $$\text{nearest}_i = \arg\min_{j \ne i} \lVert x_i - x_j \rVert$$
#
# Return the N indices, int64. There are at least two patches. If a patch has an identical twin,
# that twin is the nearest. Ties won't be checked.
#
# <details><summary>Hint</summary>
#
# Make the table of all distances, (N, N); `torch.cdist` does that. Then write something on its
# diagonal that can never be the smallest, however far apart the patches are.
# </details>


# %% answer="nearest_patch"
def nearest_patch(patches: Tensor) -> Tensor:
    """Index of the nearest other patch, for each patch.

    patches: (N, D). Returns (N,) int64.
    """
    ### BEGIN SOLUTION
    distances = torch.cdist(patches, patches)  # (patch, patch)
    return distances.fill_diagonal_(torch.inf).argmin(dim=1)
    ### END SOLUTION


# %% check="nearest_patch" points=3
check(nearest_patch)

# %% [markdown]
# ## Twins in real photographs
#
# Ten photographs, cut into 5760 patches of 8 by 8 pixels. For each patch, find its nearest
# other patch among all 5760.
#
# Neighbours in one photograph share light, colour and texture. **Predict**: how often does the
# nearest patch nevertheless lie in a *different* photograph? One in a thousand? One in fifty?
# One in five?

# %%
twins = photos.patch_twins(squares, patch=8)
share = twins.share_elsewhere
print("patches:", len(twins.twin))
print("share with the twin elsewhere lies between 15 % and 25 %:", 0.15 < share < 0.25)

# %%
names = list(squares)
by_photo = {
    name: twins.elsewhere[twins.photo == number].double().mean().item()
    for number, name in enumerate(names)
}

# %%
figure = figures.bars(
    {"all ten": share, **by_photo},
    ylabel="share of patches whose twin is in another photograph",
    title="About one patch in five is most like a patch of a different photograph",
    percent=True,
    highlight="all ten",
)
figures.show(
    figure,
    alt="Bars of the share of patches whose nearest patch lies in another photograph, for ten "
    "photographs and for all of them. All together it is about a fifth; the clock, "
    "the cat, the rocket and the night sky have few, the photographer and the astronaut "
    "most.",
)

# %% [markdown]
# About one in five. Some of these are dull: black is black anywhere. So look for twins with
# something to see in them, and let us meet the most striking pair. **Predict**, before you go
# on: what do these two patches show?

# %%
pair_of_patches = photos.striking_pairs(twins, 1)[0]
wheres, pictures = [], []
for index in pair_of_patches:
    wheres.append((*twins.corner[index].tolist(), twins.patch, twins.patch))
    pictures.append(squares[names[twins.photo[index]]])

close_ups = [
    picture[:, top : top + 8, left : left + 8]
    for picture, (top, left, *_) in zip(pictures, wheres, strict=True)
]

# %%
figure = figures.images(
    close_ups,
    ["a patch", "its twin"],
    title="Twins: dark, with a light corner",
    size=1.6,
)
figures.show(
    figure,
    alt="Two enlarged grey patches of 8 by 8 pixels. Both are almost black, with a light "
    "corner at the bottom right.",
)

# %% [markdown]
# Take a step back.

# %%
figure = figures.images(
    pictures,
    [names[twins.photo[index]] for index in pair_of_patches],
    title="One is the edge of a coat, the other the edge of a coin",
    highlight=[[where] for where in wheres],
)
figures.show(
    figure,
    alt="Two grey photographs. In one a frame marks the edge of a photographer's black coat "
    "against a lawn. In the other a frame marks the edge of an ancient coin on a dark ground.",
)

# %% [markdown]
# The edge of a photographer's coat, and the edge of a coin from Pompeii. Once you see the whole
# you can hardly see the two patches as alike any more. Nothing in the patches has changed. You
# have added the context.
#
# **Would larger patches help?** They hold more of their surroundings. **Predict**: with patches
# of 16 or 24 pixels, will fewer of them have their twin elsewhere?

# %%
shares = {
    f"{size} pixels": photos.patch_twins(squares, size).share_elsewhere
    for size in (8, 16, 24)
}
figure = figures.bars(
    shares,
    ylabel="share with the twin elsewhere",
    title="Larger patches do not settle it: more of them have their twin elsewhere",
    percent=True,
)
figures.show(
    figure,
    alt="Three bars of the share of patches whose twin is in another photograph, for patches "
    "of side 8, 16 and 24 pixels. The bars rise.",
)

# %% [markdown]
# More of them. There are fewer large patches, each is more special, and nothing is really near
# to it: what wins is a rough agreement of dark and light, from wherever it comes.
#
# So context can't be had by cutting bigger. It has to be *brought to* a patch from the rest of
# the picture.

# %% [markdown]
# ## Context as a vector
#
# The simplest summary of the rest: the mean of all patches. One vector for the whole image,
# its overall colour and light.
#
# One practical matter first. Images differ in size, so they differ in their number of patches.
# A batch is a rectangle, though:

# %%
for name in ("chelsea", "coffee", "rocket"):
    height, width = photos.photograph(name).shape[1:]
    print(
        f"{name:8s} {height} x {width}: {(height // 16) * (width // 16)} whole patches of 16"
    )

# %% [markdown]
# The short lists are filled up with **padding**, and a mask remembers which tokens are not
# real: `is_padding`, True for padding. What stands in the padding is anybody's guess, and must
# not matter.
#
# Here are three real tokens and one of padding. **Predict** the mean, and which wrong means you
# could get.

# %%
listed = [[1, 2], [3, 4], [5, 9], [99, 99]]  # the last one is padding
tokens = torch.tensor(listed, dtype=torch.float64, device=device)  # (token, channel)

print("the three real ones:   ", tokens[:3].mean(dim=0).tolist())
print("all four:              ", tokens.mean(dim=0).tolist())
print("three, divided by four:", (tokens[:3].sum(dim=0) / 4).tolist())

# %% [markdown]
# Only the first is right. The second has let the padding in. The third has kept it out of the
# sum and forgotten it in the count, which is harder to notice: the shorter a list, the smaller
# its mean.
#
# One more case: a row that is *all* padding. The mean of nothing is $0/0$, NaN, and one NaN
# poisons whatever it touches. We agree on zeros.

# %% [markdown] exercise="context_mean"
# ### Exercise: the mean of the real tokens  ·  12 min  ·  ●●○
#
# `tokens` is (B, N, D), `is_padding` is boolean (B, N), True for padding. Return (B, D):
#
# $$c_b = \frac{1}{\#\text{real}_b} \sum_{n \text{ real}} x_{bn}$$
#
# A row that is all padding gives zeros. Padding may stand anywhere, and holds any finite numbers.
# Leave the inputs as they are.
#
# <details><summary>Hint</summary>
#
# Turn the mask around, and give it a dimension for the channels: (B, N, 1). Sum what is real,
# count what is real. If the count is 0, what may you divide by instead?
# </details>


# %% answer="context_mean"
def context_mean(tokens: Tensor, is_padding: Tensor) -> Tensor:
    """Mean over the real tokens of each row; zeros for a row that is all padding.

    tokens: (B, N, D); is_padding: (B, N) bool, True for padding. Returns (B, D).
    """
    ### BEGIN SOLUTION
    real = tokens.masked_fill(is_padding[..., None], 0.0)
    count = (~is_padding).sum(dim=1, keepdim=True)  # (batch, 1)
    return real.sum(dim=1) / count.clamp(min=1)
    ### END SOLUTION


# %% check="context_mean" points=3
check(context_mean)

# %% [markdown]
# Now bring the context to the patches. Each patch of our ten photographs gets a second half: the
# mean patch of its photograph, times a weight. At weight 0 we are where we were. **Predict**:
# how much context does it take until the twins in other photographs are gone?

# %%
patches = F.unfold(torch.stack(list(squares.values())), 8, stride=8).mT
context = patches.mean(dim=1, keepdim=True).expand_as(patches)  # (photo, token, pixel)
photo = torch.arange(len(squares)).repeat_interleave(patches.shape[1])


def share_elsewhere(weight: float) -> float:
    """How many patches, with their context, have the nearest in another photograph."""
    tokens = torch.cat([patches, weight * context], dim=-1).flatten(0, 1)
    search = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(tokens.numpy())
    nearest = torch.from_numpy(search.kneighbors(return_distance=False)[:, 0])
    return (photo != photo[nearest]).double().mean().item()


# %%
weights = [0.0, 0.1, 0.2, 0.5, 1.0, 2.0]
measured = [share_elsewhere(weight) for weight in weights]
print("same share as before at weight 0:", abs(measured[0] - share) < 0.01)
print("below 2 % at weight 2:", measured[-1] < 0.02)

# %%
figure = figures.curves(
    {"patch and context": (weights, measured)},
    xlabel="weight of the context",
    ylabel="share with the twin elsewhere",
    title="With the mean of their photograph beside them, patches lose their false twins",
    percent=True,
)
figures.show(
    figure,
    alt="A line that falls from about a fifth without context towards zero as the weight of "
    "the context grows.",
)

# %% [markdown]
# The patches are the same as before; coat and coin now differ because their photographs do.
# It sounds like the end of the story: let every patch carry the mean of its image.
#
# It is not. The mean says what kind of picture this is. Does it say *who wears which shirt*? Go
# back to the ball, and **predict** whether the mean patches of the two scenes differ.

# %%
scene_patches = F.unfold(pair.double().to(device), side, stride=side).mT
mean_patches = scene_patches.mean(dim=1)  # (scene, pixel)
difference = (mean_patches[0] - mean_patches[1]).abs().max().item()
print(f"largest difference of the two means: {difference:.4f}")

# %% [markdown]
# None. Both scenes hold the same shirts; they are only on other backs. A mean is a sum, and a sum
# does not know who brought what. You did see the difference at once: you *looked* at two players
# and paid no heed to the others.

# %% [markdown]
# ## Look here, not there
#
# A mean gives each of N tokens the same weight, $1/N$. Nothing forces that. Any weights that sum
# to 1 make a mean. Here are four players, three channels: *hooped, striped, plain*. The first
# two are kicker and keeper. **Predict** the two results.

# %%
shirts = torch.tensor([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=torch.float64)
everywhere = torch.tensor([0.25, 0.25, 0.25, 0.25], dtype=torch.float64)
at_the_two = torch.tensor([0.5, 0.5, 0.0, 0.0], dtype=torch.float64)
print("looking everywhere:", (everywhere @ shirts).tolist())
print("looking at the two:", (at_the_two @ shirts).tolist())

# %% [markdown]
# With the right weights the answer can be read off: a single 1, so both wear hoops. Had their
# shirts differed, there would be two halves.
#
# Where do such weights come from? They have to be *computed, from the content, anew for each
# image*, because the players stand somewhere else each time. A layer that learns to do this is
# called **attention**. How it does it is the subject of this course. First see that it works.

# %% [markdown]
# ## The experiment: four kinds of context
#
# Four small models learn *shot* or *back pass* from 3000 scenes, and are tested on 1000 new
# ones. All turn patches into vectors by a linear map (they *embed* them) and end in the same
# small network. They differ in what reaches it:
#
# - **centre patch**: the ball alone;
# - **3×3 window**: the ball and its eight neighbours;
# - **mean of patches**: the whole scene, evenly;
# - **attention**: all patches, weighted, as the centre chooses.
#
# **Predict** the four accuracies. Guessing gives 50 %.

# %%
result = experiments.context_experiment(seed=1, device=device)
for name, accuracy in result.accuracies.items():
    print(f"{name:16s} below 60 %: {accuracy < 0.6!s:6} above 95 %: {accuracy > 0.95}")

# %%
figure = figures.bars(
    result.accuracies,
    ylabel="accuracy on new scenes",
    title="Only attention brings the right context to the ball",
    reference={"guessing": 0.5},
    percent=True,
    highlight=experiments.ATTENTION,
)
figures.show(
    figure,
    alt="Bars of the accuracy of four models. Centre patch, window and mean of patches stand "
    "at the line of guessing; attention stands at the top.",
)

# %% [markdown]
# Three models guess. You know why for the first (its pixels never differ) and for the third (the
# mean never differs). And the window? **Predict** in how many of the 1000 test scenes both
# players happen to stand within it: there are 48 places around the ball, and 8 of them are next
# to it.

# %%
test = result.scenes
rows, columns = test.marker_patches // test.grid, test.marker_patches % test.grid
middle = test.grid // 2
near = ((rows - middle).abs() <= 1) & ((columns - middle).abs() <= 1)  # (scene, marker)
print("both in the window:", int(near.all(dim=1).sum()), "of", len(test))
print(f"expected:           {1000 * 8 * 7 / (48 * 47):.1f}")

# %% [markdown]
# In about one of forty. A larger window would catch more, until it is as large as the image, and
# then it needs a weight of its own for each place where a player may stand. Attention has one
# rule for all places: find the one on the sand, find the one in the net.

# %% [markdown]
# Did it really find that rule? We can look at what it looks at. (It looks several times at once,
# with several *heads*, which chapter 06 explains; here is their mean.) **Predict** where the dark
# squares will be.

# %%
shown = int((test.labels == 1).int().argmax())
figure = figures.attention_on_image(
    test.images[shown],
    result.attn_weights[shown].mean(dim=0),  # (head, patch) -> (patch,)
    test.patch,
    query=test.centre_patch,
    title="The ball looks at the kicker and at the keeper",
)
figures.show(
    figure,
    alt="A scene, and beside it the attention of the centre patch. The two patches of the "
    "kicker on the sand and of the keeper in the goal are dark, nearly all others white.",
)

# %%
mean_weights = result.attn_weights.mean(dim=1)  # (scene, patch)
top_two = mean_weights.topk(2, dim=1).indices.sort(dim=1).values
found = (top_two == test.marker_patches.sort(dim=1).values).all(dim=1)
print(
    "the two largest weights are kicker and keeper in over 95 % of scenes:",
    found.double().mean().item() > 0.95,
)
print("more than 60 % of all attention falls on the two:", result.marker_share > 0.6)
print(f"looking everywhere alike would give {200 / test.grid**2:.0f} %")

# %% [markdown]
# Nobody told the model which tiles matter. It was told *shot* or *back pass*, 3000 times, and
# learned where to look.
#
# A word of caution. Here the weights show the reason, because the scenes were made so that
# nothing else could be one. In large models with many layers a high weight is a hint at best.

# %% [markdown]
# ## The answer
#
# How can the same patch mean different things? Because its meaning is not in the patch. A ball is
# a shot or a back pass, a dark edge a coat or a coin, by what is around it: the local feature
# stays, the global context decides.
#
# Cutting larger patches does not bring the context in. A window sees what is near. A mean sees
# everything, and forgets who brought what. What is needed is to look at the whole and
# *choose*, by content.

# %% [markdown]
# ## Where this leads
#
# To choose by content is to look something up: a question, many candidates, weights. Chapter 02
# builds such a soft dictionary by hand. Chapter 03 lets the tokens themselves ask and answer, and
# comes back to this ball: three matrices, written by hand, will read every scene correctly.

# %% [markdown]
# ## References
#
# - Torralba, *Contextual Priming for Object Detection* (2003), section 1: what an object is and
#   where it is, predicted from the whole image.
# - Bar, *Visual objects in context* (2004): how expectations from a scene shape what is
#   recognised.
# - Oliva, Torralba, *The role of context in object recognition* (2007): a review of the evidence
#   from people and from machines.
# - Dosovitskiy et al., *An Image is Worth 16x16 Words* (2021), section 3.1: an image as a
#   sequence of flattened patches.

# %% [markdown]
# ## The photographs
#
# All ship with scikit-image or scikit-learn; here they are cropped to squares and made smaller.
# Thanks to those who made them and let everybody use them.

# %%
for name, credit in photos.CREDITS.items():
    print(
        f"{name:10s} {credit.title}; {credit.author}; {credit.licence} ({credit.source})"
    )
