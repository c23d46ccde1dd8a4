package node

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

func TestLimit_HoldsBackConnectionsBeyondTheBound(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := limit(inner, 2)
	accepted := make(chan net.Conn)
	ended := make(chan error, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				ended <- err
				return
			}
			accepted <- c
		}
	}()
	for range 3 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	first, second := <-accepted, <-accepted
	if len(l.slots) != 2 {
		t.Fatalf("%d slots taken", len(l.slots))
	}
	select {
	case <-accepted:
		t.Fatal("a third connection was accepted")
	default:
	}
	// Whoever ends makes room, once.
	first.Close()
	first.Close()
	third := <-accepted
	defer third.Close()
	if len(l.slots) != 2 {
		t.Errorf("%d slots taken", len(l.slots))
	}
	// Closing ends an Accept that waits for room too.
	l.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	second.Close()
}

// TestServer_DropsWhoStalls gives each patience a client that tries it alone: the
// others are far longer than the test waits. None may hold a connection for ever.
func TestServer_DropsWhoStalls(t *testing.T) {
	const short, long, enough = 50 * time.Millisecond, time.Hour, 10 * time.Second
	endless := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil || r.URL.Path != "/endless" {
			return
		}
		for chunk := make([]byte, 1<<16); ; {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	for name, tc := range map[string]struct {
		p    patience
		say  string
		hear bool // what is answered, to its end; otherwise it says no more
	}{
		"half a header":        {patience{short, long, long, long}, "GET / HTTP/1.1\r\nHost: x\r\n", true},
		"nothing at all":       {patience{short, long, long, long}, "", true},
		"half a body":          {patience{long, short, long, long}, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1234", true},
		"a header, read alone": {patience{0, short, long, long}, "GET / HTTP/1.1\r\n", true},
		"no second request":    {patience{long, long, long, short}, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", true},
		"too long a header":    {patience{long, long, long, long}, "GET / HTTP/1.1\r\nX: " + strings.Repeat("x", 2*maxHeader) + "\r\n\r\n", true},
		"no ear for an answer": {patience{long, long, short, long}, "GET /endless HTTP/1.1\r\nHost: x\r\n\r\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan struct{})
			server := newServer(context.Background(), endless, tc.p, slog.New(slog.DiscardHandler))
			server.ConnState = func(_ net.Conn, s http.ConnState) {
				if s == http.StateClosed {
					close(ended)
				}
			}
			go server.Serve(l)
			defer server.Close()
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := io.WriteString(c, tc.say); err != nil {
				t.Fatal(err)
			}
			if tc.hear {
				c.SetReadDeadline(time.Now().Add(enough))
				if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatal("the connection stays")
				}
			}
			select {
			case <-ended:
			case <-time.After(enough):
				t.Error("the server keeps the connection")
			}
		})
	}
	if p := queryPatience(); min(p.header, p.read, p.write, p.idle) <= 0 || max(p.header, p.read, p.write, p.idle) > 5*time.Minute {
		t.Errorf("the query API's patience is %+v", p)
	}
}
