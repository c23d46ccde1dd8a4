package concierge

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/confab-chat/confab/namesvc/wire"
)

// bareSocket returns an end of a connection and what it is connected to.
func bareSocket(client bool) (*socket, net.Conn) {
	here, there := net.Pipe()
	return &socket{raw: here, in: here, masked: client, packets: new(sync.Pool)}, there
}

// feed has a server's socket read what a client may have written.
func feed(t testing.TB, limit int, parts ...[]byte) (frames [][]byte, answers []byte, err error) {
	t.Helper()
	s, there := bareSocket(false)
	var wait sync.WaitGroup
	wait.Go(func() { answers, _ = io.ReadAll(there) })
	wait.Go(func() {
		for _, p := range parts {
			there.Write(p)
		}
		there.Close()
	})
	for err == nil {
		var f []byte
		if f, err = s.ReadFrame(limit); err == nil {
			frames = append(frames, bytes.Clone(f))
		}
	}
	s.Close()
	wait.Wait()
	return frames, answers, err
}

// said is a part of a message as a client writes it, by the book.
func said(first byte, body []byte) []byte {
	key := [4]byte{1, 2, 3, 4}
	b := []byte{first}
	switch n := len(body); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = append(b, 0x80|126, byte(n>>8), byte(n))
	default:
		b = append(b, 0x80|127, 0, 0, 0, 0, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	b = append(b, key[:]...)
	for i, c := range body {
		b = append(b, c^key[i%4])
	}
	return b
}

func TestSocket_ReadsMessagesHoweverTheyAreCut(t *testing.T) {
	for _, size := range []int{0, 1, 7, 8, 9, 125, 126, 1000, 65535, 65536, 100_000} {
		body := bytes.Repeat([]byte{1, 2, 3, 4, 5}, size/5+1)[:size]
		whole := said(0x82, body)
		half := size / 2
		parts := slices.Concat(said(0x02, body[:half]), said(0x89, []byte("ping")), said(0x00, nil), said(0x80, body[half:]))
		frames, answers, err := feed(t, 100_000, whole, parts, whole)
		if err != io.EOF || len(frames) != 3 || !bytes.Equal(frames[0], body) || !bytes.Equal(frames[1], body) || !bytes.Equal(frames[2], body) {
			t.Errorf("size %d: %d frames, %v", size, len(frames), err)
		}
		if want := "\x8a\x04ping"; string(answers) != want {
			t.Errorf("a ping is answered with %q", answers)
		}
	}
}

func TestSocket_RefusesWhatIsNoMessage(t *testing.T) {
	good := said(0x82, []byte("good"))
	for name, bad := range map[string][]byte{
		"not masked":               {0x82, 0x04, 'g', 'o', 'o', 'd', 0, 0},
		"text":                     said(0x81, []byte("text")),
		"reserved bits":            said(0xc2, []byte("x")),
		"unknown kind":             said(0x83, []byte("x")),
		"unknown control":          said(0x8b, []byte("x")),
		"continues nothing":        said(0x80, []byte("x")),
		"begins in the middle":     slices.Concat(said(0x02, []byte("x")), said(0x82, []byte("x"))),
		"large":                    said(0x82, make([]byte, 101)),
		"large in parts":           slices.Concat(said(0x02, make([]byte, 60)), said(0x80, make([]byte, 60))),
		"claims to be huge":        {0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4},
		"large ping":               said(0x89, make([]byte, 126)),
		"ping in parts":            said(0x09, []byte("x")),
		"a frame of the other end": {0x82, 0x7e, 0, 1, 'x', 0, 0, 0},
	} {
		frames, _, err := feed(t, 100, good, bad, good)
		if wire.CodeOf(err) != wire.Invalid || len(frames) != 1 {
			t.Errorf("%s: %d frames, %v", name, len(frames), err)
		}
	}
}

// Pings are answered at once, each with a write, so they have a bound.
func TestSocket_EndsFloodsOfPings(t *testing.T) {
	for _, first := range []byte{0x89, 0x8a} {
		flood := slices.Repeat(said(first, nil), 1000)
		frames, answers, err := feed(t, 100, flood, said(0x82, []byte("more")))
		if wire.CodeOf(err) != wire.Invalid || len(frames) != 0 || len(answers) > 2*2*asideBurst {
			t.Errorf("%x: %d frames and %d bytes of answers, %v", first, len(frames), len(answers), err)
		}
		if frames, _, err := feed(t, 100, flood[:40*6], said(0x82, []byte("more"))); err != io.EOF || len(frames) != 1 {
			t.Errorf("%x: after forty %d frames, %v", first, len(frames), err)
		}
	}
}

func TestSocket_TellsAnEndFromACut(t *testing.T) {
	whole := said(0x82, make([]byte, 300))
	if _, _, err := feed(t, 1000, whole); err != io.EOF {
		t.Errorf("end after a message: %v", err)
	}
	frames, answers, err := feed(t, 1000, whole, said(0x88, []byte{3, 0xe8, 'b', 'y', 'e'}), whole)
	if err != io.EOF || len(frames) != 1 || string(answers) != "\x88\x02\x03\xe8" {
		t.Errorf("close: %d frames, %v, answered %q", len(frames), err, answers)
	}
	for n := 1; n < len(whole); n++ {
		if _, _, err := feed(t, 1000, whole, whole[:n]); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut after %d bytes: %v", n, err)
		}
	}
	if _, _, err := feed(t, 1000, said(0x02, []byte("begun"))); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut between parts: %v", err)
	}
}

// A message that is announced and does not come costs no memory for it, and one
// that came is not held on to.
func TestSocket_AnnouncedBytesCostNothing(t *testing.T) {
	s, there := bareSocket(false)
	go func() {
		there.Write(said(0x82, make([]byte, 1<<20))[:5000])
		there.Close()
	}()
	if _, err := s.ReadFrame(1 << 20); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	if cap(s.frame) > 32<<10 {
		t.Errorf("%d bytes of room for 5,000 that came", cap(s.frame))
	}
	s, there = bareSocket(false)
	go func() {
		there.Write(said(0x82, make([]byte, 1<<20)))
		there.Write(said(0x82, make([]byte, 10)))
	}()
	for range 2 {
		if _, err := s.ReadFrame(1 << 20); err != nil {
			t.Fatal(err)
		}
	}
	if cap(s.frame) > keepBuffer {
		t.Errorf("%d bytes are kept for the next message", cap(s.frame))
	}
}

// The library that browsers' servers use understands both ends.
func TestSocket_SpeaksWithAnotherImplementation(t *testing.T) {
	upgrader := newUpgrader()
	theirs := make(chan *websocket.Conn, 1)
	ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			t.Error(err)
		}
		theirs <- ws
	}))
	defer ts.Close()
	for _, client := range []bool{false, true} {
		ws, _, err := websocket.DefaultDialer.DialContext(t.Context(), strings.Replace(ts.URL, "http", "ws", 1), nil)
		if err != nil {
			t.Fatal(err)
		}
		other := <-theirs
		if client {
			ws, other = other, ws
		}
		ours := newSocket(other, client, new(sync.Pool))
		for _, size := range []int{0, 1, 125, 126, 65535, 65536, 200_000} {
			body := bytes.Repeat([]byte{byte(size), 7, 9}, size/3+1)[:size]
			errs := make(chan error, 2)
			go func() { errs <- ours.WriteFrames([][]byte{body, body}) }()
			for range 2 {
				if kind, got, err := ws.ReadMessage(); err != nil || kind != websocket.BinaryMessage || !bytes.Equal(got, body) {
					t.Fatalf("size %d: kind %d, %d bytes, %v", size, kind, len(got), err)
				}
			}
			go func() { errs <- ws.WriteMessage(websocket.BinaryMessage, body) }()
			if got, err := ours.ReadFrame(200_000); err != nil || !bytes.Equal(got, body) {
				t.Fatalf("size %d: %d bytes, %v", size, len(got), err)
			}
			for range 2 {
				if err := <-errs; err != nil {
					t.Fatal(err)
				}
			}
		}
		go ws.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""))
		if _, err := ours.ReadFrame(10); err != io.EOF {
			t.Errorf("close: %v", err)
		}
		if _, _, err := ws.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseNormalClosure) {
			t.Errorf("a close is answered with %v", err)
		}
		ours.Close()
		ws.Close()
	}
}

// FuzzSocket gives a server whatever bytes a client may send: it ends, and stays
// within its limit.
func FuzzSocket(f *testing.F) {
	f.Add(slices.Concat(said(0x82, []byte("one")), said(0x02, []byte("tw")), said(0x89, []byte("p")), said(0x80, []byte("o"))))
	f.Add(slices.Concat(said(0x82, make([]byte, 300)), said(0x88, []byte{3, 0xe8})))
	f.Fuzz(func(t *testing.T, b []byte) {
		const limit = 1 << 10
		frames, _, err := feed(t, limit, b)
		if err == nil {
			t.Fatal("it never ends")
		}
		for _, frame := range frames {
			if len(frame) > limit {
				t.Fatalf("frame of %d bytes", len(frame))
			}
		}
	})
}
