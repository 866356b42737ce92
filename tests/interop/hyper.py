"""hyper-h2 of Python as a client, on a wire of ours."""

import h2.config
import h2.connection
import h2.events
import h2.settings
from h2.settings import SettingCodes

import certificates
from blastbeat import PATIENCE
from frames import Wire


class Client:
    """The library on a wire; strict about all that it gets."""

    def __init__(self, server, carrier="clear", initial_window=None, push=False):
        self.scheme = "http" if carrier == "clear" else "https"
        self.wire = Wire(server.port) if carrier == "clear" else Wire(server.tls_port, certificates.client(["h2"]))
        if carrier == "tls":
            assert self.wire.tls.selected_alpn_protocol() == "h2"
        self.machine = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.machine.local_settings = h2.settings.Settings(client=True, initial_values={
            SettingCodes.ENABLE_PUSH: int(push), SettingCodes.MAX_CONCURRENT_STREAMS: 100,
            SettingCodes.INITIAL_WINDOW_SIZE: 65535 if initial_window is None else initial_window})
        self.events = []
        self.machine.initiate_connection()
        self.wait(h2.events.RemoteSettingsChanged)

    def flush(self):
        self.wire.write(self.machine.data_to_send())
        self.wire.flush()

    def ask(self, path="/", method="GET", fields=(), end=True, **pseudo):
        """Sends a request's head and returns its stream."""
        stream = self.machine.get_next_available_stream_id()
        head = {":method": method, ":scheme": self.scheme, ":authority": "localhost", ":path": path}
        head |= {f":{name}": value for name, value in pseudo.items()}
        self.machine.send_headers(stream, [*head.items(), *fields], end_stream=end)
        self.flush()
        return stream

    def upload(self, stream, data, end=True):
        """Sends a body as far and as fast as the windows let it."""
        while data:
            room = min(self.machine.local_flow_control_window(stream), self.machine.max_outbound_frame_size, len(data))
            if room > 0:
                self.machine.send_data(stream, data[:room], end_stream=end and room == len(data))
                data = data[room:]
                self.flush()
            else:
                self.wire.step(PATIENCE)
            self.look()

    def look(self):
        """Takes in what has come."""
        received = bytes(self.wire.received)
        self.wire.received.clear()
        if received:
            for event in self.machine.receive_data(received):
                if isinstance(event, h2.events.DataReceived) and self.gives_back:
                    self.machine.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                self.events.append(event)
            if not self.wire.has_ended:
                self.flush()

    gives_back = True

    def wait(self, kind, stream=None, nth=0):
        """Waits for the nth event of that kind, on that stream."""
        found = []

        def is_there():
            self.look()
            found[:] = [event for event in self.events
                        if isinstance(event, kind) and stream in (None, getattr(event, "stream_id", None))]
            return len(found) > nth or self.wire.has_ended

        if not is_there():
            self.flush()
            self.wire.wait(is_there, f"{kind.__name__} on {stream}")
        self.look()
        is_there()
        assert len(found) > nth, f"no {kind.__name__} on {stream} among {self.events[-5:]}"
        return found[nth]

    def wait_until(self, is_so):
        def has_come():
            self.look()
            return is_so()

        self.wire.wait(has_come, "more")

    def answer(self, stream):
        """Waits for a whole answer: its status, its fields and its body."""
        self.wait(h2.events.StreamEnded, stream)
        fields = dict(self.wait(h2.events.ResponseReceived, stream).headers)
        return int(fields[":status"]), fields, self.body(stream)

    def body(self, stream):
        return b"".join(event.data for event in self.events
                        if isinstance(event, h2.events.DataReceived) and event.stream_id == stream)

    def get(self, path="/", **options):
        return self.answer(self.ask(path, **options))
