package concierge

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream/frame"
)

// Somebody with a proper certificate of his own and without the server key.
func TestDial_RefusesAServerWithoutTheKeyOfTheEntry(t *testing.T) {
	w := newWorld(t, cheap())
	impostor := w.newServer(cheap(), fakechain.NewActor("impostor", namesvc.Service))
	defer impostor.Close(t.Context())
	impostor.me.Key = w.harbor.Server.Public() // it says what the client wants to hear
	ts := httptest.NewTLSServer(impostor.Handler())
	defer ts.Close()
	_, err := Dial(t.Context(), ts.URL, w.service(), &Identity{Account: w.alice.ID, Device: w.alice.Device})
	if wire.CodeOf(err) != wire.Unauthorized {
		t.Errorf("impostor: %v", err)
	}
}

// Somebody between client and concierge who passes on everything, on a TLS
// connection with each: what both sign is bound to connections that are not the
// same.
func TestDial_RefusesWhoPassesOnTheHandshakeOfAnother(t *testing.T) {
	w := newWorld(t, cheap())
	ts := httptest.NewUnstartedServer(nil)
	ts.StartTLS()
	certificate := ts.TLS.Certificates[0]
	ts.Close()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}})
	w.must(err)
	defer l.Close()
	var seen bytes.Buffer
	done := make(chan bool)
	go func() {
		defer close(done)
		near, err := l.Accept()
		if err != nil {
			return
		}
		defer near.Close()
		far, err := tls.Dial("tcp", strings.TrimPrefix(w.url, "https://"), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			return
		}
		defer far.Close()
		go io.Copy(near, far)
		io.Copy(io.MultiWriter(far, &seen), near)
	}()
	c, err := Dial(t.Context(), "https://"+l.Addr().String(), w.service(), &Identity{Account: w.alice.ID, Device: w.alice.Device})
	if err == nil {
		c.Close()
	}
	if wire.CodeOf(err) != wire.Unauthorized || !strings.Contains(err.Error(), "stands in between") {
		t.Errorf("somebody in between: %v", err)
	}
	<-done
	if seen.Len() == 0 {
		t.Error("he saw nothing at all")
	}
	// His view is in a WebSocket's mask, but no client introduced itself: the
	// server was told of one handshake that ended early.
	if n := w.server.frames.Connections(); n != 0 {
		t.Errorf("%d connections", n)
	}
}

// pipes returns two ends of a connection for handshakes without a network.
func handshake(t *testing.T, server, client func(frame.Conn) error) (serr, cerr error) {
	t.Helper()
	a, b := frame.Pipe()
	done := make(chan error, 1)
	go func() {
		err := server(a)
		if err != nil {
			a.Close()
		}
		done <- err
	}()
	cerr = client(b)
	b.Close()
	return <-done, cerr
}

func TestHandshake_ReplayedIntroductionIsRefused(t *testing.T) {
	harbor, alice := fakechain.NewActor("harbor", namesvc.Service), fakechain.NewActor("alice", namesvc.Person)
	me := Service{Chain: "c", Account: harbor.ID, Generation: 1, Key: harbor.Server.Public()}
	id := &Identity{Account: alice.ID, Device: alice.Device}
	binding := []byte("one connection")
	meeting := func(who *caller, binding []byte) func(frame.Conn) error {
		return func(c frame.Conn) error {
			got, err := meet(c, me, newSigner(harbor.Server), binding, rand.Reader)
			*who = got
			return judge(c, err)
		}
	}
	var who caller
	var said [][]byte // what alice sent
	serr, cerr := handshake(t, meeting(&who, binding), func(c frame.Conn) error {
		return greet(recorder{c, &said}, me, id, binding, rand.Reader)
	})
	if serr != nil || cerr != nil || who.account != alice.ID || who.device != alice.Device.Public() || who.guest {
		t.Fatalf("an honest handshake: %v, %v, %+v", serr, cerr, who)
	}
	replay := func(c frame.Conn) error {
		for _, b := range said {
			if err := c.WriteFrames([][]byte{b}); err != nil {
				return err
			}
			if _, err := c.ReadFrame(maxHandshake + maxText); err != nil {
				return err
			}
		}
		return nil
	}
	if serr, _ = handshake(t, meeting(&who, binding), replay); wire.CodeOf(serr) != wire.Unauthorized {
		t.Errorf("replay: %v", serr)
	}
	// The same words on another TLS connection.
	if _, cerr = handshake(t, meeting(&who, []byte("another")), func(c frame.Conn) error {
		return greet(c, me, id, binding, rand.Reader)
	}); wire.CodeOf(cerr) != wire.Unauthorized {
		t.Errorf("another connection: %v", cerr)
	}
	for name, other := range map[string]Service{
		"another chain":      {Chain: "d", Account: me.Account, Generation: 1, Key: me.Key},
		"another service":    {Chain: "c", Account: alice.ID, Generation: 1, Key: me.Key},
		"another generation": {Chain: "c", Account: me.Account, Generation: 2, Key: me.Key},
		"another key":        {Chain: "c", Account: me.Account, Generation: 1, Key: fakechain.NewActor("x", namesvc.Service).Server.Public()},
	} {
		if _, cerr = handshake(t, meeting(&who, binding), func(c frame.Conn) error {
			return greet(c, other, id, binding, rand.Reader)
		}); wire.CodeOf(cerr) != wire.Unauthorized {
			t.Errorf("%s: %v", name, cerr)
		}
	}
}

// recorder notes what is written.
type recorder struct {
	frame.Conn
	said *[][]byte
}

func (r recorder) WriteFrames(frames [][]byte) error {
	for _, f := range frames {
		*r.said = append(*r.said, bytes.Clone(f))
	}
	return r.Conn.WriteFrames(frames)
}

func TestDial_TakesPlainConnectionsOnThisMachineOnly(t *testing.T) {
	w := newWorld(t, cheap())
	plain := httptest.NewServer(w.server.Handler())
	defer plain.Close()
	c, err := Dial(t.Context(), plain.URL, w.service(), &Identity{Account: w.alice.ID, Device: w.alice.Device})
	w.must(err)
	c.Close()
	for _, u := range []string{"http://harbor.example", "http://127.0.0.1.example", "ftp://127.0.0.1", "https://u:p@127.0.0.1", "https://", "", "http://10.0.0.1"} {
		if _, err := Dial(t.Context(), u, w.service(), nil); wire.CodeOf(err) != wire.Invalid {
			t.Errorf("%q: %v", u, err)
		}
	}
}

func TestServer_RefusesPagesOfOtherOrigins(t *testing.T) {
	w := newWorld(t, cheap())
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+"/v1/socket", nil)
	for k, v := range map[string]string{
		"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
		"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Origin": "https://evil.example",
	} {
		r.Header.Set(k, v)
	}
	resp, err := client.Do(r)
	w.must(err)
	resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("status %v", resp.Status)
	}
}

func TestServer_CutsWhoDoesNotFinishItsHandshake(t *testing.T) {
	harbor := fakechain.NewActor("harbor", namesvc.Service)
	me := Service{Chain: "c", Account: harbor.ID, Generation: 1, Key: harbor.Server.Public()}
	for name, first := range map[string][]byte{
		"nothing that decodes": {0xff}, "too large": make([]byte, maxHandshake+maxText+1), "another version": wire.Encode(opening{Version: 2}),
	} {
		serr, _ := handshake(t, func(c frame.Conn) error {
			_, err := meet(c, me, newSigner(harbor.Server), nil, rand.Reader)
			return err
		}, func(c frame.Conn) error {
			c.WriteFrames([][]byte{first})
			_, err := c.ReadFrame(1 << 10)
			return err
		})
		if serr == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// A message that announces more than it may have is refused before there is
// room for it.
func TestSocket_RefusesByTheAnnouncedLength(t *testing.T) {
	w := newWorld(t, cheap())
	guest := w.connect(nil)
	s := guest.asking.Conn.(*socket)
	w.must(s.write([]byte{opBinary, 0x80 | 127, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4}))
	w.finished(guest)
}

func FuzzDecodeHandshake(f *testing.F) {
	f.Add(wire.Encode(opening{Version: 1}))
	f.Add(wire.Encode(proof{Version: 1, Chain: "c"}))
	f.Add(wire.Encode(introduction{Account: make([]byte, 32), Device: make([]byte, 32), Signature: make([]byte, 64)}))
	f.Add(wire.Encode(verdict{Code: 2, Text: "no"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, v := range []any{&opening{}, &proof{}, &introduction{}, &verdict{}} {
			if wire.Decode(b, v, maxHandshake) != nil {
				continue
			}
			if again := wire.Encode(v); !bytes.Equal(again, b) {
				t.Errorf("%x decodes and encodes to %x", b, again)
			}
			if in, ok := v.(*introduction); ok {
				if who, err := in.check(transcript{}, [32]byte{}); err == nil && !who.guest {
					t.Errorf("%x is somebody", b)
				}
			}
		}
	})
}

func FuzzDecodeControl(f *testing.F) {
	f.Add(encodeControl(kindRequest, request{Number: 1, Op: opCreate, Body: wire.Encode(createBody{})}))
	f.Add(encodeControl(kindAnswer, answer{Number: 1, Code: 2, Text: "no"}))
	f.Add(encodeControl(kindRequest, request{Number: 1, Op: opKnock, Body: wire.Encode(Knock{})}))
	f.Add(encodeControl(kindRequest, request{Number: 1, Op: opUpload, Body: wire.Encode(uploadBody{Once: [][]byte{{1}}})}))
	f.Add(encodeControl(kindRequest, request{Number: 1, Op: opFetch, Body: wire.Encode(PackageRequest{})}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var r request
		if control, err := decodeControl(b, kindRequest, &r); control && err == nil {
			if !bytes.Equal(encodeControl(kindRequest, r), b) {
				t.Errorf("%x is not how it encodes", b)
			}
			decodeBody[createBody](r)
			decodeBody[deleteBody](r)
			decodeBody[uploadBody](r)
			decodeBody[PackageRequest](r)
			decodeBody[Knock](r)
		}
		var a answer
		if control, err := decodeControl(b, kindAnswer, &a); control && err == nil && !bytes.Equal(encodeControl(kindAnswer, a), b) {
			t.Errorf("%x is not how it encodes", b)
		}
		if control, _ := decodeControl(b, kindRequest, &r); control {
			if _, err := frame.Decode(b); err == nil {
				t.Errorf("%x is a control frame and another", b)
			}
		}
	})
}

func FuzzDecodeRecord(f *testing.F) {
	f.Add(wire.Encode(record{Version: 1, Devices: [][32]byte{{1}}, Queues: []Queue{{Entries: 1}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var r record
		if wire.Decode(b, &r, 1<<16) == nil && !bytes.Equal(wire.Encode(r), b) {
			t.Errorf("%x is not how it encodes", b)
		}
	})
}
