"""Every error that evtill raises on purpose. Catch these; let the rest reach the supervisor."""


class EvtillError(Exception):
    """Base of all of them: its text is one line, fit for a log, an event or a technician."""


class ConfigError(EvtillError):
    """A key of the configuration is missing, unknown or out of range; the text names it."""


class LanguageError(EvtillError):
    """A language file that is damaged, or not one."""


class ClockError(EvtillError):
    """A time that this clock cannot hold, or an untrusted clock where a trusted one is needed."""


class TariffError(EvtillError):
    """A tariff table that is damaged, of another version, or not expressible."""


class SignatureError(EvtillError):
    """A signature, key or signed envelope that is malformed or does not verify."""


class RecordError(EvtillError):
    """A usage record or OCMF string that is malformed or contradicts itself."""


class JournalError(EvtillError):
    """The journal could not be read or written; nothing after it may be acted upon."""


class JournalFull(JournalError):
    """No room for a worst-case session: refuse to start one."""


class ModbusError(EvtillError):
    """A Modbus transaction gave no usable reply."""


class ModbusTimeout(ModbusError):
    """No complete reply in time."""


class ModbusFrameError(ModbusError):
    """A reply whose CRC, address, function or length is not the one asked for."""


class ModbusExceptionReply(ModbusError):
    """The slave answered with an exception; `code` is its code (Modbus V1.1b3, section 7)."""

    def __init__(self, code):
        super().__init__("modbus exception %d" % code)
        self.code = code


class MeterError(EvtillError):
    """A reading that cannot be trusted: not a number, out of range, another serial number."""


class ReaderError(EvtillError):
    """The card reader did not answer, or answered out of protocol."""


class CardGone(EvtillError):
    """The card left the field, or does not answer any more; the reader is well."""


class CardError(EvtillError):
    """A card that did not prove what it claims: wrong key, wrong MAC, an answer out of protocol."""


class LinkError(EvtillError):
    """The MQTT link is down or broke the protocol."""


class TrustError(LinkError):
    """A server's certificate is not of the configured CA, host name or time: nothing was sent."""


class ArtefactError(EvtillError):
    """An artefact that is refused; what it was to replace stays."""


class CommandError(EvtillError):
    """A command that is refused; the text is sent back as its result."""
