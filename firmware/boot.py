import gc

# Collect early: what lives on would else come to lie scattered all over the heap, between garbage,
# until no 1 kB in one piece is left of 40 kB free.
gc.threshold(4096)

# Mounted here and not by the app, so that mpremote reaches the data of a charger in trouble too.
import hwconfig  # noqa: E402

try:
    hwconfig.mount_data()
except OSError as e:
    print("data partition not mounted:", e)
