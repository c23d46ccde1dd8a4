package frame_test

import (
	"bytes"
	"context"
	"reflect"
	"testing"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/stream/frame"
)

// frames returns one of each kind.
func frames() []frame.Frame {
	id, m := stream.ID{1, 2, 3}, stream.MessageID{4, 5}
	head := stream.Head{Seq: 300, Hash: [32]byte{6}}
	entries := []frame.Entry{{Message: m, Body: []byte("one")}, {Message: m, Body: []byte{}}}
	return []frame.Frame{
		&frame.Hello{Least: 1, Most: 3},
		&frame.Append{Request: 1, Stream: id, Message: m, Expect: []stream.Head{head}, Body: []byte("body")},
		&frame.Range{Request: 2, Stream: id, After: 70000, Max: 1 << 17},
		&frame.Subscribe{Request: 3, Stream: id, After: 9},
		&frame.Unsubscribe{Request: 4, Stream: id},
		&frame.Acknowledge{Request: 5, Stream: id, Seq: 24},
		&frame.Head{Request: 6, Stream: id},
		&frame.Announce{Stream: id, Body: []byte("typing")},
		&frame.Ping{Token: 1},
		&frame.Pong{Token: 1},
		&frame.Bye{Code: wire.Exhausted, Text: "enough"},
		&frame.Welcome{Version: 1, Ping: 50},
		&frame.Done{Request: 7, Seq: 8, Again: true},
		&frame.Failed{Request: 8, Code: wire.Conflict, Text: "gone on", Head: []stream.Head{head}},
		&frame.Page{Request: 9, After: 4, Head: 6, Entries: entries},
		&frame.State{Request: 10, Head: head, Signature: []byte{1}, Base: 2, Bytes: 3, MaxEntries: 4, MaxBytes: 5, TTL: 6, Cursor: 7},
		&frame.Pushed{Stream: id, From: 3, After: 4, Head: 6, Entries: entries},
		&frame.Heard{Stream: id, Body: []byte("typing")},
		&frame.Ended{Stream: id, Code: wire.NotFound, Text: "gone"},
	}
}

func TestCodec_EveryKindCrosses(t *testing.T) {
	for kind, f := range frames() {
		b := frame.Encode(f)
		if int(b[0]) != kind {
			t.Errorf("%T has kind %d", f, b[0])
		}
		got, err := frame.Decode(b)
		if err != nil {
			t.Errorf("%T: %v", f, err)
			continue
		}
		if !reflect.DeepEqual(got, f) && !bytes.Equal(frame.Encode(got), b) {
			t.Errorf("%T came back as %+v", f, got)
		}
	}
	if _, err := frame.Decode([]byte{byte(len(frames())), 0x80}); err == nil {
		t.Error("there are more kinds than are tested")
	}
}

// What crosses is not larger than it must be: a message of 512 bytes costs 52 on
// its way in and 22 on its way out in a page.
func TestCodec_OverheadIsSmall(t *testing.T) {
	body := make([]byte, 512)
	if n := len(frame.Encode(&frame.Append{Request: 1000, Body: body})) - 512; n > 60 {
		t.Errorf("an append costs %d bytes", n)
	}
	page := &frame.Page{Entries: make([]frame.Entry, 100)}
	for i := range page.Entries {
		page.Entries[i].Body = body
	}
	if n := (len(frame.Encode(page)) - 51200) / 100; n > stream.EntryCost {
		t.Errorf("an entry costs %d bytes", n)
	}
}

func FuzzDecode(f *testing.F) {
	for _, x := range frames() {
		f.Add(frame.Encode(x))
	}
	for _, x := range hot() {
		if b := frame.Encode(x); len(b) < 1000 {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 0 {
			same(t, b)
		}
		x, err := frame.Decode(b)
		if err != nil {
			if wire.CodeOf(err) != wire.Invalid {
				t.Errorf("kind of error is %s", wire.CodeOf(err))
			}
			return
		}
		if again := frame.Encode(x); !bytes.Equal(again, b) {
			t.Errorf("%x comes back as %x", b, again)
		}
	})
}

// FuzzServe gives a server whatever bytes a client may send.
func FuzzServe(f *testing.F) {
	var all []byte
	for _, x := range frames()[1:10] { // what clients send after Hello
		b := frame.Encode(x)
		all = append(append(all, byte(len(b)>>8), byte(len(b))), b...)
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, b []byte) {
		store := newFake(stream.ID{1, 2, 3})
		server := frame.NewServer(store, frame.Options{})
		here, there := frame.Pipe()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			server.Serve(context.Background(), there, &door{reader: stream.Reader{1}})
		}()
		go func() {
			for {
				if _, err := here.ReadFrame(frame.MaxFrame); err != nil {
					return
				}
			}
		}()
		send := [][]byte{frame.Encode(&frame.Hello{Least: 1, Most: 1})}
		for len(b) > 2 {
			n := min(int(b[0])<<8|int(b[1]), len(b)-2)
			send = append(send, b[2:2+n])
			b = b[2+n:]
		}
		here.WriteFrames(send)
		here.Close()
		<-ended
		server.Close(context.Background())
	})
}
