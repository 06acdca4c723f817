import hwconfig

from evtill.app import compose

compose.run(hwconfig)
