package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// mute has an agent answer at the account's socket that tells nobody what
// happens.
func (w *world) mute(answer func(method string) (status int, body string)) {
	w.t.Helper()
	w.write("dev.pin", "confab-vectors:1:"+strings.Repeat("0a", 32)+"\n")
	w.run("net add --offline --source http://127.0.0.1:1 --pin FILE/dev.pin dev").ok()
	w.account("me")
	list, err := w.accounts().List()
	if err != nil || len(list) != 1 {
		w.t.Fatal(list, err)
	}
	short, err := os.MkdirTemp("", "confab")
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { os.RemoveAll(short) })
	l, err := net.Listen("unix", filepath.Join(short, "agent.sock"))
	if err != nil {
		w.t.Fatal(err)
	}
	home := w.path(fmt.Sprintf("home/agents/%.16s-dev", list[0].ID))
	if err := os.MkdirAll(home, 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Symlink(l.Addr().String(), filepath.Join(home, "agent.sock")); err != nil {
		w.t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, q *http.Request) {
		method := strings.TrimPrefix(q.URL.Path, "/v1/")
		if method == "events" {
			rw.WriteHeader(http.StatusOK)
			rw.(http.Flusher).Flush()
			<-q.Context().Done()
			return
		}
		status, body := answer(method)
		rw.Header().Set("Content-Type", "application/json")
		rw.WriteHeader(status)
		fmt.Fprintln(rw, body)
	})}
	go s.Serve(l)
	w.t.Cleanup(func() { s.Close() })
}

func TestWait_LooksAgainThoughNothingIsTold(t *testing.T) {
	w := newWorld(t)
	var asked atomic.Int64
	w.mute(func(string) (int, string) {
		if asked.Add(1) == 1 {
			return http.StatusNotFound, `{"code":"not-found","text":"not yet"}`
		}
		return http.StatusOK, `{"handle":"@bob","state":"accepted"}`
	})
	if out := w.run("contact accept --wait 20s @bob").ok(); !strings.Contains(out.stdout, "@bob") {
		t.Errorf("it says %q", out.stdout)
	}
	if n := asked.Load(); n != 2 {
		t.Errorf("it asked %d times", n)
	}
}

func TestWait_EndsWhenItsTimeIsOver(t *testing.T) {
	w := newWorld(t)
	w.mute(func(string) (int, string) { return http.StatusNotFound, `{"code":"not-found","text":"not yet"}` })
	w.run("contact accept --wait 100ms @bob").fails(17, "no request of @bob came within 100ms")
}
