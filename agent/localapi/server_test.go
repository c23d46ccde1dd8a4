package localapi

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/confab-chat/confab/agent/chat"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/message"
)

// double is an agent that notes what it is asked.
type double struct {
	mu      sync.Mutex
	asked   []string // "contact/add {@bob hi}"
	fails   error
	notices chan chat.Notice
	after   uint64
	stopped chan struct{}
}

// rows are all methods, which answer with nothing.
func (d *double) rows() []row {
	rows := table(nil, nil)
	for i := range rows {
		m := rows[i]
		rows[i].do = func(_ context.Context, q any, a *answer) error {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.asked = append(d.asked, strings.TrimSpace(fmt.Sprintf("%s %+v", m.path, q)))
			switch m.kind {
			case isLong:
				a.lines()
				a.line(step{"one"})
				a.line(step{"two"})
				if d.fails == nil {
					a.line(outcome[struct{}]{})
				}
			case isDownload:
				if d.fails == nil {
					io.WriteString((*pour)(a), "bytes")
				}
			case isCall:
				if d.fails == nil {
					a.begin("application/json", http.StatusOK)
					a.line(struct{}{})
				}
			}
			return d.fails
		}
	}
	return rows
}

func (d *double) follow(after uint64) (<-chan chat.Notice, func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.after = after
	return d.notices, sync.OnceFunc(func() { d.stopped <- struct{}{} })
}

// start returns a double behind a server at the socket of a home.
func start(t *testing.T) (*double, *Server, string) {
	t.Helper()
	d := &double{notices: make(chan chat.Notice, 10), stopped: make(chan struct{}, 2*maxFollowers)}
	s := newServer(d.rows(), d.follow, slog.New(slog.NewTextHandler(t.Output(), nil)))
	home := filepath.Join(t.TempDir(), "home")
	if err := s.Socket(home); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return d, s, home
}

func TestClient_CallsEachMethodOfTheTable(t *testing.T) {
	d, _, home := start(t)
	c, ctx, id := NewClient(home), t.Context(), message.ID{1}
	device := key.DeviceFromSeed([key.SeedSize]byte{1}).Public()
	defer c.Close()
	var said []string
	say := func(text string) { said = append(said, text) }
	var b bytes.Buffer
	for i, f := range []func() error{
		func() error { return second(c.Status(ctx)) },
		func() error { return c.Stop(ctx) },
		func() error { return c.Wake(ctx) },
		func() error { return second(c.AddContact(ctx, AddContact{Handle: "@bob", Greeting: "hi"}, say)) },
		func() error { return second(c.AcceptContact(ctx, "@bob")) },
		func() error { return second(c.BlockContact(ctx, "@bob")) },
		func() error { return second(c.UnblockContact(ctx, "@bob")) },
		func() error { return c.RemoveContact(ctx, "@bob") },
		func() error { return second(c.NameContact(ctx, "@bob", "Bobby")) },
		func() error { return second(c.Contacts(ctx)) },
		func() error { return second(c.Safety(ctx, "@bob")) },
		func() error { return second(c.VerifyContact(ctx, "@bob", true)) },
		func() error { return second(c.Repin(ctx, "@bob")) },
		func() error { return second(c.Card(ctx)) },
		func() error { return c.Avatar(ctx, "@bob", io.Discard) },
		func() error { return second(c.Send(ctx, Send{Who: "@bob", Text: "<hi>", File: "/f"})) },
		func() error { return second(c.SendAll(ctx, "to all")) },
		func() error { return c.React(ctx, id, "👍", true) },
		func() error { return c.Edit(ctx, id, "new") },
		func() error { return c.Delete(ctx, id) },
		func() error { return second(c.Message(ctx, id)) },
		func() error { return second(c.Messages(ctx, ReadPage{Who: "@bob", Before: "p", Limit: 3})) },
		func() error { return c.MarkRead(ctx, "@bob", "p") },
		func() error { return second(c.Search(ctx, Search{Query: "words"})) },
		func() error { return c.Typing(ctx, "@bob", 5) },
		func() error { return second(c.FetchFile(ctx, id, "/to")) },
		func() error { return c.Export(ctx, &b) },
		func() error { return second(c.Devices(ctx)) },
		func() error { return second(c.Link(ctx)) },
		func() error { return second(c.LinkRequests(ctx)) },
		func() error { return c.LinkAccept(ctx, device, nil) },
		func() error { return c.RemoveDevice(ctx, device, nil) },
		func() error { return second(c.Concierges(ctx)) },
		func() error { return c.SwitchConcierge(ctx, "@lantern", say) },
	} {
		if err := f(); err != nil {
			t.Errorf("call %d: %v", i, err)
		}
	}
	rows := table(nil, nil)
	if len(d.asked) != len(rows) {
		t.Errorf("%d calls for %d methods", len(d.asked), len(rows))
	}
	for i := range min(len(rows), len(d.asked)) {
		if got, _, _ := strings.Cut(d.asked[i], " "); got != rows[i].path {
			t.Errorf("call %d went to %s, want %s", i, got, rows[i].path)
		}
	}
	if d.asked[3] != "contact/add {Handle:@bob Card: Met:false Greeting:hi}" || strings.Join(said, " ") != "one two one two" || b.String() != "bytes" {
		t.Errorf("%q with progress %q; download %q", d.asked[3], said, &b)
	}
}

func second[T any](_ T, err error) error { return err }

func TestClient_ErrorsKeepTheirKind(t *testing.T) {
	d, _, home := start(t)
	c, ctx := NewClient(home), t.Context()
	for k := wire.Invalid; k <= wire.Internal; k++ {
		d.fails = fmt.Errorf("outer: %w", wire.Errorf(k, "because of %v", k))
		for name, f := range map[string]func() error{
			"call":     func() error { return second(c.Status(ctx)) },
			"long":     func() error { return c.SwitchConcierge(ctx, "@x", nil) },
			"download": func() error { return c.Export(ctx, io.Discard) },
		} {
			if err := f(); wire.CodeOf(err) != k || err.Error() != fmt.Sprintf("outer: because of %v", k) {
				t.Errorf("%s, %v: %v: %v", name, k, wire.CodeOf(err), err)
			}
		}
	}
	d.fails = errors.New("a secret place")
	if _, err := c.Status(ctx); wire.CodeOf(err) != wire.Internal || strings.Contains(err.Error(), "secret") {
		t.Errorf("an error of no kind: %v", err)
	}
}

func TestClient_SaysThatNoAgentRuns(t *testing.T) {
	home := t.TempDir()
	if _, err := NewClient(home).Status(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("nothing there: %v", err)
	}
	_, s, home := start(t)
	s.Close()
	if _, err := NewClient(home).Status(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("after its end: %v", err)
	}
	// One that was killed leaves its socket behind.
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(home, socketFile), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if _, err := NewClient(home).Status(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("after it was killed: %v", err)
	}
	next := newServer(nil, nil, slog.New(slog.DiscardHandler))
	if err := next.Socket(home); err != nil {
		t.Errorf("a new one: %v", err)
	}
	next.Close()
}

func TestServer_StreamsWhatHappens(t *testing.T) {
	d, s, home := start(t)
	c := NewClient(home)
	seq, err := c.Follow(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if d.after != ^uint64(0) {
		t.Errorf("it follows from %d", d.after)
	}
	d.notices <- chat.Notice{Seq: 1, Type: "notice", Text: "line\n<b>"}
	d.notices <- chat.Notice{Seq: 2, Type: "typing"}
	want := uint64(1)
	for n, err := range seq {
		if err != nil {
			if wire.CodeOf(err) != wire.Unavailable || want != 3 {
				t.Errorf("ended after %d: %v", want-1, err)
			}
			break
		}
		if n.Seq != want || n.Seq == 1 && n.Text != "line\n<b>" {
			t.Errorf("notice %+v", n)
		}
		if want++; want == 3 {
			close(d.notices) // it is too slow
		}
	}
	<-d.stopped
	ctx, cancel := context.WithCancel(t.Context())
	d.notices = make(chan chat.Notice)
	if seq, err = c.Follow(ctx, 7); err != nil || d.after != 7 {
		t.Fatalf("after %d: %v", d.after, err)
	}
	cancel()
	for _, err := range seq {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("a follower that goes: %v", err)
		}
	}
	<-d.stopped
	// The end of the server ends streams.
	d.notices = make(chan chat.Notice)
	if seq, err = c.Follow(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	go s.Close()
	for _, err := range seq {
		if wire.CodeOf(err) != wire.Unavailable {
			t.Errorf("at the server's end: %v", err)
		}
	}
}

func TestServer_BoundsFollowers(t *testing.T) {
	_, _, home := start(t)
	c := NewClient(home)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for i := range maxFollowers {
		r, err := c.send(ctx, http.MethodGet, events, nil)
		if err != nil {
			t.Fatalf("follower %d: %v", i, err)
		}
		defer r.Body.Close()
	}
	if _, err := c.Follow(ctx); wire.CodeOf(err) != wire.Exhausted {
		t.Errorf("one too many: %v", err)
	}
	if _, err := c.Status(ctx); err != nil {
		t.Errorf("a call meanwhile: %v", err)
	}
}

func TestServer_RefusesWhatIsNoRequest(t *testing.T) {
	d, _, home := start(t)
	c := NewClient(home)
	for name, q := range map[string]struct {
		method, path, body string
		status             int
	}{
		"no method":         {"POST", "v1/contact/eat", "{}", 404},
		"no path":           {"GET", "", "", 404},
		"GET of a call":     {"GET", "v1/agent/status", "", 404},
		"POST of events":    {"POST", "v1/events", "", 404},
		"no JSON":           {"POST", "v1/contact/add", "{", 400},
		"an unknown field":  {"POST", "v1/contact/add", `{"handle":"@b","greting":"hi"}`, 400},
		"more than JSON":    {"POST", "v1/contact/add", `{} {}`, 400},
		"another type":      {"POST", "v1/contact/add", `{"handle":1}`, 400},
		"too long":          {"POST", "v1/chat/send", `{"text":"` + strings.Repeat("x", maxBody) + `"}`, 400},
		"a number of event": {"GET", "v1/events?after=x", "", 400},
		"a short id":        {"POST", "v1/chat/delete", `{"id":"00"}`, 400},
	} {
		r, err := http.NewRequestWithContext(t.Context(), q.method, "http://agent/"+q.path, strings.NewReader(q.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.http.Do(r)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != q.status || !bytes.HasPrefix(b, []byte(`{"code":"`)) {
			t.Errorf("%s: status %d, want %d: %s", name, resp.StatusCode, q.status, b)
		}
	}
	if len(d.asked) != 0 {
		t.Errorf("it did %q", d.asked)
	}
}

func TestDownload_ThatBreaksIsNoticed(t *testing.T) {
	rows := []row{pours(chatExport, func(_ context.Context, _ None, w io.Writer) error {
		io.WriteString(w, "the first half")
		return errors.New("disk")
	})}
	s := newServer(rows, nil, slog.New(slog.DiscardHandler))
	home := filepath.Join(t.TempDir(), "h")
	if err := s.Socket(home); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := NewClient(home).Export(t.Context(), io.Discard); wire.CodeOf(err) != wire.Unavailable {
		t.Errorf("half of it: %v", err)
	}
}

func TestLong_ReportsFromAnywhereAndNotAfterItsEnd(t *testing.T) {
	release, late := make(chan struct{}), make(chan struct{})
	rows := []row{lasts(conciergeSwitch, func(_ context.Context, _ Switch, say func(string)) (None, error) {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() { say("step") })
		}
		wg.Wait()
		go func() { <-release; say("too late"); close(late) }()
		return None{}, nil
	})}
	s := newServer(rows, nil, slog.New(slog.DiscardHandler))
	home := filepath.Join(t.TempDir(), "h")
	if err := s.Socket(home); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	n := 0
	if err := NewClient(home).SwitchConcierge(t.Context(), "@x", func(string) { n++ }); err != nil || n != 8 {
		t.Errorf("%d steps: %v", n, err)
	}
	close(release)
	<-late
}

func TestSocket_IsItsOwnersAlone(t *testing.T) {
	_, _, home := start(t)
	for path, want := range map[string]os.FileMode{home: 0o700, filepath.Join(home, socketFile): 0o600} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	open := t.TempDir()
	if err := os.Chmod(open, 0o755); err != nil {
		t.Fatal(err)
	}
	s := newServer(nil, nil, slog.New(slog.DiscardHandler))
	if err := s.Socket(open); wire.CodeOf(err) != wire.Invalid {
		t.Errorf("in a folder that is open to others: %v", err)
	}
	for _, c := range []struct {
		uid  uint32
		own  int
		want bool
	}{{1000, 1000, true}, {0, 1000, true}, {1001, 1000, false}, {1000, 0, false}} {
		if welcome(c.uid, c.own) != c.want {
			t.Errorf("user %d at the agent of %d", c.uid, c.own)
		}
	}
}

func TestSocket_KnowsWhoConnects(t *testing.T) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go net.Dial("unix", l.Addr().String())
	c, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if uid, known, err := peer(c); err != nil || known && int(uid) != os.Getuid() {
		t.Errorf("user %d: %v", uid, err)
	}
}

func TestSocket_OfALongPathIsElsewhere(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", "")
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	home := filepath.Join(t.TempDir(), strings.Repeat("long", 20), strings.Repeat("name", 20))
	if _, err := NewClient(home).Status(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("nothing there: %v", err)
	}
	for range 2 { // the second one finds what a killed one left
		d := &double{}
		s := newServer(d.rows(), d.follow, slog.New(slog.DiscardHandler))
		if err := s.Socket(home); err != nil {
			t.Fatal(err)
		}
		if _, err := NewClient(home).Status(t.Context()); err != nil {
			t.Error(err)
		}
		left, _ := filepath.Glob(filepath.Join(tmp, "confab-*"))
		if len(left) != 1 {
			t.Errorf("folders %q", left)
		}
		if info, err := os.Stat(left[0]); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("the folder of the socket: %v, %v", info.Mode(), err)
		}
		defer func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}()
	}
}

// loopback returns a double behind HTTP, its URL and its token.
func loopback(t *testing.T, origins ...string) (*double, string, string) {
	t.Helper()
	d, s, home := start(t)
	url, err := s.HTTP(home, "127.0.0.1:0", origins)
	if err != nil {
		t.Fatal(err)
	}
	token, err := ReadToken(home)
	if err != nil {
		t.Fatal(err)
	}
	return d, url, token
}

func TestHTTP_TakesTheToken(t *testing.T) {
	d, url, token := loopback(t)
	if _, err := NewHTTPClient(url, token).Status(t.Context()); err != nil {
		t.Error(err)
	}
	for name, wrong := range map[string]string{"none": "", "a short one": token[:63], "another": strings.Repeat("0", 64), "a longer one": token + "0"} {
		if _, err := NewHTTPClient(url, wrong).Status(t.Context()); wire.CodeOf(err) != wire.Unauthorized {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := NewHTTPClient(url, wrong).Follow(t.Context()); wire.CodeOf(err) != wire.Unauthorized {
			t.Errorf("%s follows: %v", name, err)
		}
	}
	if len(d.asked) != 1 {
		t.Errorf("it did %q", d.asked)
	}
}

func TestHTTP_TakesNoPaths(t *testing.T) {
	d, url, token := loopback(t)
	c := NewHTTPClient(url, token)
	if _, err := c.Send(t.Context(), Send{Who: "@bob", File: "/etc/passwd"}); wire.CodeOf(err) != wire.Unauthorized {
		t.Errorf("send: %v", err)
	}
	if _, err := c.FetchFile(t.Context(), message.ID{}, "/etc/passwd"); wire.CodeOf(err) != wire.Unauthorized {
		t.Errorf("fetch: %v", err)
	}
	if len(d.asked) != 0 {
		t.Errorf("it did %q", d.asked)
	}
	if _, err := c.Send(t.Context(), Send{Who: "@bob", Text: "hi"}); err != nil {
		t.Error(err)
	}
}

func TestHTTP_KeepsPagesOut(t *testing.T) {
	d, url, token := loopback(t, "https://app.example")
	port := url[strings.LastIndex(url, ":"):]
	for name, q := range map[string]struct {
		method, host, origin, auth, kind string
		status                           int
	}{
		"plain":                    {"POST", "", "", "Bearer " + token, "application/json", 200},
		"localhost":                {"POST", "localhost" + port, "", "Bearer " + token, "application/json; charset=utf-8", 200},
		"a page that was let in":   {"POST", "", "https://app.example", "Bearer " + token, "application/json", 200},
		"its question":             {"OPTIONS", "", "https://app.example", "", "", 204},
		"its question elsewhere":   {"OPTIONS", "", "https://evil.example", "", "", 403},
		"it without the token":     {"POST", "", "https://app.example", "", "application/json", 403},
		"another page":             {"POST", "", "https://evil.example", "Bearer " + token, "application/json", 403},
		"a page of no origin":      {"POST", "", "null", "Bearer " + token, "application/json", 403},
		"a name of somebody else":  {"POST", "evil.example" + port, "", "Bearer " + token, "application/json", 403},
		"a name without port":      {"POST", "localhost", "", "Bearer " + token, "application/json", 403},
		"a form":                   {"POST", "", "", "Bearer " + token, "text/plain", 400},
		"a question of no origin":  {"OPTIONS", "", "", "", "", 403},
		"a token of another style": {"POST", "", "", "Basic " + token, "application/json", 403},
	} {
		r, err := http.NewRequestWithContext(t.Context(), q.method, url+"/v1/agent/status", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		r.Host = q.host
		for name, v := range map[string]string{"Origin": q.origin, "Authorization": q.auth, "Content-Type": q.kind} {
			if v != "" {
				r.Header.Set(name, v)
			}
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != q.status {
			t.Errorf("%s: status %d, want %d", name, resp.StatusCode, q.status)
		}
		if got := resp.Header.Get("Access-Control-Allow-Origin"); (got != "") != (q.origin == "https://app.example") {
			t.Errorf("%s: pages of %q may read the answer", name, got)
		}
	}
	if len(d.asked) != 3 {
		t.Errorf("it did %q", d.asked)
	}
}

func TestHTTP_OnlyOnLoopback(t *testing.T) {
	_, s, home := start(t)
	for _, addr := range []string{"0.0.0.0:0", ":0", "192.0.2.1:0", "example.org:1", "x", "[::]:0"} {
		if _, err := s.HTTP(home, addr, nil); wire.CodeOf(err) != wire.Invalid {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

func TestToken_IsKeptAndGuarded(t *testing.T) {
	home := t.TempDir()
	if _, err := ReadToken(home); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("none yet: %v", err)
	}
	one, err := loadToken(home)
	if err != nil || len(one) != 64 {
		t.Fatalf("%q: %v", one, err)
	}
	if two, err := loadToken(home); err != nil || two != one {
		t.Errorf("again: %v", err)
	}
	path := filepath.Join(home, tokenFile)
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := loadToken(home); wire.CodeOf(err) != wire.Invalid || strings.Contains(err.Error(), one) {
		t.Errorf("open to others: %v", err)
	}
	os.Remove(path)
	os.WriteFile(path, []byte("nearly a secret\n"), 0o600)
	if _, err := loadToken(home); wire.CodeOf(err) != wire.Invalid || strings.Contains(err.Error(), "secret") {
		t.Errorf("no token: %v", err)
	}
}

func TestBounded_LetsOthersWait(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := newBounded(l)
	accepted := make(chan net.Conn)
	go func() {
		defer close(accepted)
		for {
			c, err := b.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	var first net.Conn
	for i := range maxConnections {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if got := <-accepted; i == 0 {
			first = got
		}
	}
	more, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer more.Close()
	select {
	case <-accepted:
		t.Error("one too many got in")
	default:
	}
	first.Close()
	first.Close() // gives back one slot only
	if c := <-accepted; c == nil {
		t.Error("who waited did not get in")
	}
	b.Close()
	if _, open := <-accepted; open {
		t.Error("somebody got in after the end")
	}
}

// FuzzDecode: no request makes the server fail in another way than by a refusal.
func FuzzDecode(f *testing.F) {
	rows := table(nil, nil)
	for i := range rows {
		f.Add(uint8(i), []byte(`{"who":"@bob","id":"`+strings.Repeat("0", 64)+`","limit":-1}`))
	}
	f.Fuzz(func(t *testing.T, i uint8, b []byte) {
		if _, err := rows[int(i)%len(rows)].decode(b); err != nil && wire.CodeOf(err) != wire.Invalid {
			t.Error(err)
		}
	})
}

// FuzzLines: no answer makes a client fail in another way than by an error.
func FuzzLines(f *testing.F) {
	f.Add([]byte("{\"progress\":\"x\"}\n\n{\"result\":{}}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for line, err := range lines(t.Context(), bufio.NewReader(bytes.NewReader(b))) {
			if err == nil && len(line) == 0 {
				t.Error("an empty line")
			}
		}
	})
}
