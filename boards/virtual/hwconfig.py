"""The virtual board's parts. On every board this is the only file that imports `machine`."""

import machine
import network
import vfs

from evtill.drivers.contactor import Contactor
from evtill.drivers.display import TextDisplay
from evtill.drivers.modbus import ModbusMaster
from evtill.drivers.pn532 import PN532

BOARD = "virtual"
DATA = "/data"  # configuration, keys, tariff, tokens, journal: apart from the firmware

_METER_UART = 1
_READER_UART = 2
_COIL_PIN = 4
_FEEDBACK_PIN = 5
_PLUG_PIN = 6  # high while a plug is in the car (control pilot state B or C)
_PULSE_PIN = 7  # a pulse meter's S0 output, which pulls it down
# Around the socket, where it is more than a contact. Inputs are pulled up: a broken wire counts
# as a tripped device and a pressed button.
_LOCKED_PIN = 8
_RCD_PIN = 9
_EMERGENCY_PIN = 10
_STOP_PIN = 11
_POWER_FAIL_PIN = 12
_LOCK_PIN = 13
_UNLOCK_PIN = 14
_PWM_PIN = 15
_PILOT_ADC = 16
_PROXIMITY_ADC = 17
_TEMPERATURE_ADC = 18
_DISPLAY_I2C = 0
_LIGHT_PIN = 19
_BUZZER_PIN = 20
_WATCHDOG_MS = 8000


def mount_data():
    """Mounts the data partition at DATA. Raises OSError; never formats."""
    vfs.mount(vfs.VfsLfs2(machine.Partition("data")), DATA)


def format_data():
    """Makes an empty filesystem on the data partition: provisioning's business only."""
    vfs.VfsLfs2.mkfs(machine.Partition("data"))


def data_is_blank():
    """Whether the data partition was never written: its first block is as erased."""
    block = bytearray(256)
    machine.Partition("data").readblocks(0, block)
    return block == b"\xff" * 256


def modbus(baud, parity, stop_bits):
    """The meters' bus; parity: "N", "E" or "O"."""
    parity = None if parity == "N" else 0 if parity == "E" else 1
    uart = machine.UART(_METER_UART, baudrate=baud, parity=parity, stop=stop_bits, rxbuf=512)
    return ModbusMaster(uart, baud, 10 if parity is None and stop_bits == 1 else 11)


def pulse_input():
    return machine.Pin(_PULSE_PIN, machine.Pin.IN, machine.Pin.PULL_UP)


def reader():
    return PN532(machine.UART(_READER_UART, baudrate=115200))


def contactor():
    coil = machine.Pin(_COIL_PIN, machine.Pin.OUT)
    return Contactor(coil, machine.Pin(_FEEDBACK_PIN, machine.Pin.IN))


def plugged():
    """Whether a plug is in the car."""
    return bool(machine.Pin(_PLUG_PIN, machine.Pin.IN).value())


def circuit(config):
    """What is around the socket, as plug_side.PlugSide takes it. None: there is only a contact."""
    from evtill.drivers.inputs import Inputs
    from evtill.drivers.pilot import Pilot

    pin, adc, to = machine.Pin, machine.ADC, machine.Pin.OUT
    proximity, sensor = adc(pin(_PROXIMITY_ADC)), adc(pin(_TEMPERATURE_ADC))

    def ohm():
        """Of the cable's resistor, below 1 kOhm to 3.3 V."""
        mv = proximity.read_uv() // 1000
        return 1000 * mv // (3300 - mv) if mv < 3290 else 1000000

    def celsius():
        """0.5 V at 0 degrees, 10 mV each; None where the sensor is torn off or shorted."""
        mv = sensor.read_uv() // 1000
        return (mv - 500) // 10 if 100 < mv < 2500 else None

    lock = None
    if config["plug"] == "socket":
        lock = pin(_UNLOCK_PIN, to), pin(_LOCK_PIN, to), pin(_LOCKED_PIN)
    pwm = machine.PWM(pin(_PWM_PIN, to), freq=1000, duty_u16=65535)
    return {
        "pilot": Pilot(adc(pin(_PILOT_ADC)), pwm, config["pilot_low_mv"], config["pilot_high_mv"]),
        # In the order of plug_side's bits, and so many looks until each counts.
        "inputs": Inputs([(pin(_RCD_PIN), 2), (pin(_EMERGENCY_PIN), 2), (pin(_STOP_PIN), 2),
                          (pin(_POWER_FAIL_PIN), 1)]),
        "lock": lock, "ohm": ohm, "celsius": celsius,
    }  # fmt: skip


def display():
    """The one that is connected: the simulator says which."""
    if machine.panel == "ssd1306":
        import framebuf

        from evtill.drivers.ssd1306 import SSD1306

        bus = machine.I2C(_DISPLAY_I2C, freq=400000)
        return SSD1306(bus, framebuf.FrameBuffer, framebuf.MONO_VLSB)
    if machine.panel == "hd44780":
        from evtill.drivers.hd44780 import HD44780

        return HD44780(machine.I2C(_DISPLAY_I2C, freq=100000))
    return TextDisplay(machine.display)


def signals():
    """Status light and buzzer, as far as there are."""
    if machine.panel == "text":
        return []
    import neopixel

    from evtill.drivers.buzzer import Buzzer
    from evtill.drivers.status_light import StatusLight

    light = neopixel.NeoPixel(machine.Pin(_LIGHT_PIN, machine.Pin.OUT), 1)
    return [StatusLight(light), Buzzer(machine.PWM(machine.Pin(_BUZZER_PIN, machine.Pin.OUT)))]


def watchdog():
    return machine.WDT(timeout=_WATCHDOG_MS)


def network_up(config):
    """Joins the network of `config`; the virtual board is on the PC's."""
    return network.WLAN(network.STA_IF).isconnected()


def rtc_unix_s():
    """Unix seconds of the battery-backed clock."""
    import time

    seconds = time.time()
    # MicroPython counts from 2000 on microcontrollers and from 1970 on a PC.
    return seconds + (946684800 if time.gmtime(0)[0] == 2000 else 0)


def reset_cause():
    """Why the board started: "power", "watchdog" or "reset"."""
    causes = {machine.PWRON_RESET: "power", machine.WDT_RESET: "watchdog"}
    return causes.get(machine.reset_cause(), "reset")


reset = machine.reset
