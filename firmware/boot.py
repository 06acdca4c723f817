# Mounted here and not by the app, so that mpremote reaches the data of a charger in trouble too.
import hwconfig

try:
    hwconfig.mount_data()
except OSError as e:
    print("data partition not mounted:", e)
