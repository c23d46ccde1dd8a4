package concierge

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/confab-chat/confab/concierge/blob"
	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/stream/chunk"
	"github.com/confab-chat/confab/talk/media"
)

// depot is a world whose concierge also keeps files.
type depot struct {
	*world
	dir  string
	blob *blob.Store
}

// patient is for tests in which the clock leaps: a connection whose account was last
// looked at before the leap stays.
func patient() Limits {
	l := cheap()
	l.Grace = 10_000 * time.Hour
	return l
}

func newDepot(t *testing.T, limits Limits, changes ...func(*Options)) *depot {
	t.Helper()
	d := &depot{world: newWorld(t, limits), dir: t.TempDir()}
	old := d.server
	var err error
	d.blob, err = blob.Open(d.dir, 0)
	d.must(err)
	d.server = d.extra(limits, d.blob, changes...)
	ts := httptest.NewUnstartedServer(d.server.Handler())
	ts.EnableHTTP2 = false
	ts.StartTLS()
	d.url = ts.URL
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		d.server.Close(ctx)
		ts.Close()
		d.server = old
	})
	return d
}

// extra makes another server of the same store.
func (d *depot) extra(limits Limits, files *blob.Store, changes ...func(*Options)) *Server {
	d.Helper()
	chain, err := lightclient.New(lightclient.Config{
		Pin: d.Pin(1), Sources: []lightclient.Source{source{fakechain.Node{Chain: d.Chain, Label: "node"}, d.world}}, Now: d.now,
	})
	d.must(err)
	o := Options{
		Service: d.service(), Key: d.harbor.Server, Chain: chain, Store: d.store, Limits: limits, Now: d.now, Local: true, Media: files,
		Logger: slog.New(slog.NewTextHandler(d.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, change := range changes {
		change(&o)
	}
	s, err := New(o)
	d.must(err)
	return s
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func contentID(b []byte) chunk.ID {
	var tree chunk.Tree
	tree.Write(b)
	id, _, _ := tree.Sum()
	return id
}

// keep uploads b for a client.
func (d *depot) keep(c *Client, b []byte, change ...func(*Upload)) (chunk.ID, error) {
	u := Upload{ID: contentID(b), Size: uint64(len(b))}
	for _, f := range change {
		f(&u)
	}
	_, err := c.Upload(d.Context(), u, bytes.NewReader(b))
	return u.ID, err
}

// files returns how many files the depot has on disk, pins and rests included.
func (d *depot) files() (n int) {
	filepath.WalkDir(d.dir, func(_ string, e fs.DirEntry, _ error) error {
		if !e.IsDir() && e.Name() != "lock" {
			n++
		}
		return nil
	})
	return n
}

func (d *depot) read(c *Client, id chunk.ID) ([]byte, error) {
	body, err := c.Media().Read(d.Context(), id, 0)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(body)
}

func (d *depot) pins(c *Client) Pins {
	d.Helper()
	p, err := c.Pins(d.Context())
	d.must(err)
	return p
}

// put sends a request as a client of another make might.
func (d *depot) put(c *Client, id, ticket, offset string, body io.Reader) (int, http.Header) {
	d.Helper()
	r, err := http.NewRequestWithContext(d.Context(), "PUT", d.url+"/v1/media/"+id, body)
	d.must(err)
	r.Header.Set("Authorization", "Bearer "+ticket)
	r.Header.Set(offsetHeader, offset)
	res, err := c.HTTP().Do(r)
	if err != nil {
		return 0, nil
	}
	res.Body.Close()
	return res.StatusCode, res.Header
}

func (d *depot) ticket(c *Client, id chunk.ID, size int) putAnswer {
	d.Helper()
	var a putAnswer
	d.must(c.ask(d.Context(), opPut, putBody{ID: id, Size: uint64(size)}, &a))
	return a
}

func text(a putAnswer) string { return base64.RawURLEncoding.EncodeToString(a.Ticket) }

// A file goes from its sender, sealed, to its reader, who opens it as it comes, and
// neither the concierge's disk nor what it sends shows anything of it.
func TestMedia_GoesFromSealToOpen(t *testing.T) {
	d := newDepot(t, cheap())
	alice, guest := d.connect(d.alice), d.connect(nil)
	b := bytes.Repeat([]byte("holiday pictures "), 20_000)
	sealed, err := media.Seal(bytes.NewReader(b), uint64(len(b)), rand.Reader)
	d.must(err)
	until, err := alice.Upload(t.Context(), Upload{ID: sealed.ID(), Size: sealed.Size()}, sealed)
	d.must(err)
	if left := until.Sub(d.now()); left < 29*24*time.Hour || left > 30*24*time.Hour {
		t.Errorf("it is kept for %v", left)
	}
	ref := sealed.Ref("image/png")
	size, err := media.SealedSize(ref.Size)
	d.must(err)
	leaves, err := guest.Media().Leaves(t.Context(), ref.Root, size)
	d.must(err)
	file, err := media.Open(ref, leaves)
	d.must(err)
	body, err := guest.Media().Read(t.Context(), ref.Root, 0)
	d.must(err)
	defer body.Close()
	var out bytes.Buffer
	if err := file.Copy(&out, body); err != nil || !bytes.Equal(out.Bytes(), b) {
		t.Errorf("%d bytes come back: %v", out.Len(), err)
	}
	part := make([]byte, 100)
	at := file.Content(guest.Media().At(t.Context(), ref.Root))
	if _, err := at.ReadAt(part, 200_000); err != nil || !bytes.Equal(part, b[200_000:200_100]) {
		t.Errorf("a part: %q, %v", part, err)
	}
	if raw, err := d.read(guest, ref.Root); err != nil || bytes.Contains(raw, []byte("holiday")) {
		t.Errorf("the concierge sends content: %v", err)
	}
	p := d.pins(alice)
	if len(p.List) != 1 || p.List[0].ID != ref.Root || p.Media != size || p.Vault != 0 || p.List[0].Begun != 0 || p.MediaLimit != 2<<30 {
		t.Errorf("pins %+v", p)
	}
}

func TestMedia_IsServedSoThatNoBrowserRunsIt(t *testing.T) {
	d := newDepot(t, cheap())
	alice := d.connect(d.alice)
	b := []byte("<html><script>alert(1)</script></html>")
	id, err := d.keep(alice, b)
	d.must(err)
	get := func(path string, header ...string) (*http.Response, string) {
		r, err := http.NewRequestWithContext(t.Context(), "GET", d.url+path, nil)
		d.must(err)
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		res, err := alice.HTTP().Do(r)
		d.must(err)
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		d.must(err)
		return res, string(body)
	}
	res, body := get("/v1/media/" + id.String())
	for name, want := range map[string]string{
		"Content-Type": "application/octet-stream", "X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox; default-src 'none'",
		"Content-Disposition": "attachment", "ETag": `"` + id.String() + `"`, "Cache-Control": "public, max-age=604800, immutable", "Accept-Ranges": "bytes",
	} {
		if got := res.Header.Get(name); got != want {
			t.Errorf("%s is %q", name, got)
		}
	}
	if body != string(b) {
		t.Errorf("it answers %q", body)
	}
	if res, body := get("/v1/media/"+id.String(), "If-None-Match", `"`+id.String()+`"`); res.StatusCode != 304 || body != "" {
		t.Errorf("again: %d %q", res.StatusCode, body)
	}
	for ranges, want := range map[string]struct {
		status int
		body   string
	}{
		"bytes=0-5": {206, "<html>"}, "bytes=-7": {206, "</html>"}, "bytes=30-": {206, string(b[30:])}, "bytes=0-0": {206, "<"},
		"bytes=5-2": {416, ""}, "bytes=1000-": {416, ""}, "bytes=0-999999999999": {206, string(b)}, "bytes=-99999": {206, string(b)},
		// Several ranges are a way to have one sent many times: the whole, once.
		"bytes=0-5,0-5,0-5": {200, string(b)}, "bytes=0-," + strings.Repeat("0-,", 500): {200, string(b)},
	} {
		res, body := get("/v1/media/"+id.String(), "Range", ranges)
		if res.StatusCode != want.status || want.status != 416 && body != want.body {
			t.Errorf("%.30s: %d %q", ranges, res.StatusCode, body)
		}
	}
	if _, body := get("/v1/media/" + id.String() + "/leaves"); len(body) != 32 {
		t.Errorf("%d bytes of leaves", len(body))
	}
	for _, path := range []string{
		"/v1/media", "/v1/media/", "/v1/media/" + id.String()[:63], "/v1/media/" + strings.ToUpper(id.String()), "/v1/media/" + chunk.ID{1}.String(),
		"/v1/media/..%2f..%2fserver.key", "/v1/media/%2e%2e", "/v1/media/lock", "/v1/media/" + id.String()[:2] + "%2flock",
		"/v1/media/" + id.String() + "." + id.String(), "/v1/media/" + id.String() + "/other", "/v1/media/" + id.String() + "%00",
	} {
		if res, body := get(path); res.StatusCode != 404 && res.StatusCode != 400 || strings.Contains(body, d.dir) {
			t.Errorf("%s: %d %q", path, res.StatusCode, body)
		}
	}
}

func TestMedia_GoesOnWhereItStopped(t *testing.T) {
	d := newDepot(t, cheap())
	alice := d.connect(d.alice)
	b := random(3*chunk.Size + 100)
	id := contentID(b)
	gone := io.NewSectionReader(failingAt{bytes.NewReader(b), 100_000}, 0, int64(len(b)))
	if _, err := alice.Upload(t.Context(), Upload{ID: id, Size: uint64(len(b))}, gone); !errors.Is(err, errGone) {
		t.Fatalf("the source's error: %v", err)
	}
	d.eventually("the first attempt has ended", func() bool {
		a := d.ticket(alice, id, len(b))
		status, _ := d.put(alice, id.String(), text(a), fmt.Sprint(a.Offset), http.NoBody)
		return a.Offset > 0 && status == 202
	})
	if _, err := d.read(alice, id); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("half a file is read: %v", err)
	}
	if p := d.pins(alice); len(p.List) != 1 || p.List[0].Begun == 0 || p.Media != uint64(len(b)) {
		t.Errorf("its room is %+v", p)
	}
	had := d.ticket(alice, id, len(b)).Offset
	counted := &counting{ReaderAt: bytes.NewReader(b)}
	_, err := alice.Upload(t.Context(), Upload{ID: id, Size: uint64(len(b))}, counted)
	d.must(err)
	if had == 0 || counted.n.Load() != int64(len(b))-int64(had) {
		t.Errorf("%d bytes were there and %d of %d sent", had, counted.n.Load(), len(b))
	}
	counted.n.Store(0)
	for range 3 { // what is there is not sent again
		_, err = alice.Upload(t.Context(), Upload{ID: id, Size: uint64(len(b))}, counted)
		d.must(err)
	}
	if got, err := d.read(alice, id); err != nil || !bytes.Equal(got, b) || counted.n.Load() != 0 {
		t.Errorf("%d bytes come back, %d were sent again: %v", len(got), counted.n.Load(), err)
	}
	if p := d.pins(alice); len(p.List) != 1 || p.List[0].Begun != 0 {
		t.Errorf("pins %+v", p)
	}
}

var errGone = errors.New("gone")

type failingAt struct {
	r  io.ReaderAt
	at int64
}

func (f failingAt) ReadAt(p []byte, off int64) (int, error) {
	if off >= f.at {
		return 0, errGone
	}
	return f.r.ReadAt(p, off)
}

type counting struct {
	io.ReaderAt
	n atomic.Int64
}

func (c *counting) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(p, off)
	c.n.Add(int64(n))
	return n, err
}

func TestMedia_RefusesLies(t *testing.T) {
	limits := cheap()
	limits.MediaBlob = 100_000
	d := newDepot(t, limits)
	alice := d.connect(d.alice)
	b := random(70_000)
	id := contentID(b)
	for size, want := range map[uint64]wire.Code{0: wire.Invalid, 100_001: wire.Invalid, 1<<64 - 1: wire.Invalid} {
		if _, err := alice.Upload(t.Context(), Upload{ID: id, Size: size}, bytes.NewReader(b)); wire.CodeOf(err) != want {
			t.Errorf("a size of %d: %v", size, err)
		}
	}
	for name, lie := range map[string]struct {
		id   chunk.ID
		size int
		body []byte
	}{
		"more than announced": {id, 69_999, b}, "another root": {chunk.ID{1}, 70_000, b}, "less than the root has": {id, 69_999, b[:69_999]},
		"other content": {id, 70_000, random(70_000)}, "endless": {id, 10, bytes.Repeat(b, 50)},
	} {
		a := d.ticket(alice, lie.id, lie.size)
		if status, _ := d.put(alice, lie.id.String(), text(a), "0", bytes.NewReader(lie.body)); status != 400 && status != 0 {
			t.Errorf("%s: %d", name, status)
		}
		d.eventually(name+" leaves nothing", func() bool { return d.files() == 0 && len(d.pins(alice).List) == 0 })
	}
	d.ticket(alice, id, 70_000)
	if err := alice.ask(t.Context(), opPut, putBody{ID: id, Size: 70_001}, nil); wire.CodeOf(err) != wire.Invalid {
		t.Errorf("another size of what is being uploaded: %v", err)
	}
	d.must(alice.Unpin(t.Context(), id))
	// The largest that is allowed.
	big := random(100_000)
	bigID, err := d.keep(alice, big)
	d.must(err)
	if _, err := alice.Upload(t.Context(), Upload{ID: bigID, Size: 99_999}, bytes.NewReader(big)); wire.CodeOf(err) != wire.Invalid {
		t.Errorf("another size of what is here: %v", err)
	}
	bob := d.connect(d.bob)
	if _, err := bob.Upload(t.Context(), Upload{ID: bigID, Size: 99_999}, bytes.NewReader(big)); wire.CodeOf(err) != wire.Invalid {
		t.Errorf("another size of what is here of another's: %v", err)
	}
	if p := d.pins(bob); len(p.List) != 0 {
		t.Errorf("his lie takes room: %+v", p)
	}
}

func TestMedia_TicketsAreForOneFileAndAWhile(t *testing.T) {
	d := newDepot(t, patient())
	alice := d.connect(d.alice)
	b := random(5000)
	id := contentID(b)
	good := d.ticket(alice, id, len(b))
	tampered := bytes.Clone(good.Ticket)
	tampered[len(tampered)-1] ^= 1
	forged, err := newTicketer(d.bob.Server)
	d.must(err)
	b64 := base64.RawURLEncoding.EncodeToString
	for name, ticket := range map[string]string{
		"none": "", "garbage": "!!", "short": b64(good.Ticket[:31]), "tampered": b64(tampered), "long": b64(random(5000)),
		"of another key":  b64(forged.make(pass{Owner: OwnerOf(d.alice.ID, 1), ID: id, Size: 5000, Until: 1 << 40})),
		"of another file": text(d.ticket(alice, chunk.ID{7}, 5000)),
	} {
		if status, _ := d.put(alice, id.String(), ticket, "0", bytes.NewReader(b)); status != 403 {
			t.Errorf("%s: %d", name, status)
		}
	}
	if status, h := d.put(alice, id.String(), text(good), "7", bytes.NewReader(b)); status != 409 || h.Get(offsetHeader) != "0" {
		t.Errorf("at another place: %d, %v", status, h)
	}
	if status, _ := d.put(alice, id.String(), text(good), "-1", bytes.NewReader(b)); status != 400 {
		t.Errorf("at no place: %d", status)
	}
	d.later(ticketTime + time.Minute)
	if status, _ := d.put(alice, id.String(), text(good), "0", bytes.NewReader(b)); status != 403 {
		t.Errorf("late: %d", status)
	}
	good = d.ticket(alice, id, len(b))
	d.must(alice.Unpin(t.Context(), id))
	if status, _ := d.put(alice, id.String(), text(good), "0", bytes.NewReader(b)); status != 404 {
		t.Errorf("for what was let go of: %d", status)
	}
	if status, _ := d.put(alice, id.String(), text(good), "0", bytes.NewReader(b[:100])); status != 404 || d.files() != 0 {
		t.Errorf("a part of what was let go of: %d, and %d files", status, d.files())
	}
	d.must(alice.Unpin(t.Context(), chunk.ID{7}))
	if n := d.files(); n != 0 {
		t.Errorf("%d files are left", n)
	}
}

func TestMedia_BelongsToItsOwner(t *testing.T) {
	d := newDepot(t, cheap())
	alice, bob, guest := d.connect(d.alice), d.connect(d.bob), d.connect(nil)
	b := random(5000)
	id, err := d.keep(alice, b)
	d.must(err)
	d.must(bob.Unpin(t.Context(), id)) // it never was his
	if p := d.pins(bob); len(p.List) != 0 {
		t.Errorf("bob sees %+v", p)
	}
	if _, err := d.read(guest, id); err != nil {
		t.Fatalf("bob let go of alice's file: %v", err)
	}
	if _, err := d.keep(guest, b); wire.CodeOf(err) != wire.Unauthorized {
		t.Errorf("a guest uploads: %v", err)
	}
	if _, err := guest.Pins(t.Context()); wire.CodeOf(err) != wire.Unauthorized {
		t.Errorf("a guest lists: %v", err)
	}
	if err := guest.Unpin(t.Context(), id); wire.CodeOf(err) != wire.Unauthorized {
		t.Errorf("a guest deletes: %v", err)
	}
	// Both keep it; it is sent once, and stays as long as one does.
	counted := &counting{ReaderAt: bytes.NewReader(b)}
	_, err = bob.Upload(t.Context(), Upload{ID: id, Size: 5000}, counted)
	d.must(err)
	d.must(alice.Unpin(t.Context(), id))
	if got, err := d.read(guest, id); err != nil || !bytes.Equal(got, b) || counted.n.Load() != 0 {
		t.Errorf("%v, sent %d bytes", err, counted.n.Load())
	}
	d.must(bob.Unpin(t.Context(), id))
	if _, err := d.read(guest, id); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("nobody keeps it: %v", err)
	}
	if n := d.files(); n != 0 {
		t.Errorf("%d files are left", n)
	}
	phone := fakechain.NewActor("alice's phone", namesvc.Person).Device
	d.devices(d.alice, d.alice.Device, phone)
	d.server.members.look(t.Context())
	d.removeFirst(phone)
	d.server.members.look(t.Context())
	d.finished(alice)
}

func TestMedia_SaysThatTheDiskIsFull(t *testing.T) {
	d := newDepot(t, cheap(), func(o *Options) {
		full, err := blob.Open(t.TempDir(), 1<<62)
		if err != nil {
			t.Fatal(err)
		}
		o.Media = full
	})
	alice := d.connect(d.alice)
	if _, err := d.keep(alice, random(100)); wire.CodeOf(err) != wire.Exhausted || !strings.Contains(err.Error(), "disk is full") {
		t.Errorf("%v", err)
	}
	if p := d.pins(alice); len(p.List) != 0 {
		t.Errorf("it takes room: %+v", p)
	}
	address, _ := d.queue(alice, d.alice, stream.Settings{})
	d.must(write(t.Context(), alice, address, "messages go on"))
}

func TestMedia_AnAccountThatMovedReadsAndDeletes(t *testing.T) {
	d := newDepot(t, cheap())
	alice := d.connect(d.alice)
	b := random(100)
	id, err := d.keep(alice, b)
	d.must(err)
	haven := fakechain.NewActor("haven", namesvc.Service)
	d.must(d.Register(haven, "haven", haven.Concierge("https://haven.example")))
	d.must(d.Next(d.Sign(d.alice, namesvc.OpRecords, *fakechain.ServedBy(haven))))
	d.Skip(1)
	d.server.members.look(t.Context())
	again := d.connect(d.alice)
	if _, err := d.keep(again, random(100)); wire.CodeOf(err) != wire.Unauthorized {
		t.Errorf("it uploads: %v", err)
	}
	if p := d.pins(again); len(p.List) != 1 {
		t.Errorf("%+v", p)
	}
	if got, err := d.read(again, id); err != nil || !bytes.Equal(got, b) {
		t.Error(err)
	}
	d.must(again.Unpin(t.Context(), id))
	if d.files() != 0 {
		t.Error("it was not deleted")
	}
}

func TestMedia_BoundsOneNetwork(t *testing.T) {
	d := newDepot(t, cheap())
	alice := d.connect(d.alice)
	id, err := d.keep(alice, random(100))
	d.must(err)
	d.server.reads = newBuckets(0.001, 3)
	var refused int
	for range 6 {
		if _, err := d.read(alice, id); wire.CodeOf(err) == wire.Exhausted {
			refused++
		}
	}
	if refused != 3 {
		t.Errorf("%d of 6 were refused", refused)
	}
}

func TestMedia_TwoConciergesShareAFolder(t *testing.T) {
	d := newDepot(t, cheap())
	files, err := blob.Open(d.dir, 0)
	d.must(err)
	second := d.extra(cheap(), files)
	ts := httptest.NewUnstartedServer(second.Handler())
	ts.EnableHTTP2 = false
	ts.StartTLS()
	t.Cleanup(func() { second.Close(context.Background()); ts.Close() })
	here, there := d.connect(d.alice), d.connectTo(ts.URL, d.alice)
	b := random(100_000)
	id, err := d.keep(here, b)
	d.must(err)
	if got, err := d.read(there, id); err != nil || !bytes.Equal(got, b) {
		t.Error(err)
	}
	// A ticket of one is good at the other.
	b = random(5000)
	a := d.ticket(there, contentID(b), len(b))
	if status, _ := d.put(here, contentID(b).String(), text(a), "0", bytes.NewReader(b)); status != 204 {
		t.Errorf("status %d", status)
	}
	d.must(there.Unpin(t.Context(), id))
	if _, err := d.read(here, id); wire.CodeOf(err) != wire.NotFound {
		t.Error(err)
	}
}

// A server that does not keep files says so, and the rest goes on.
func TestMedia_CanBeOff(t *testing.T) {
	d := newDepot(t, cheap(), func(o *Options) { o.Media = nil })
	alice := d.connect(d.alice)
	if _, err := d.keep(alice, random(10)); wire.CodeOf(err) != wire.Unavailable {
		t.Error(err)
	}
	if _, err := d.read(alice, chunk.ID{}); wire.CodeOf(err) != wire.Unavailable {
		t.Error(err)
	}
}

// A client that shows a ticket to whoever stands in between loses it.
func TestClient_SendsTicketsToItsConciergeAlone(t *testing.T) {
	d := newDepot(t, cheap())
	alice := d.connect(d.alice)
	var asked atomic.Int64
	impostor := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer impostor.Close()
	alice.way.cert = []byte("of another key")
	alice.way.base = impostor.URL
	if _, err := d.keep(alice, random(10)); wire.CodeOf(err) != wire.Unavailable || asked.Load() != 0 {
		t.Errorf("%v, and the impostor was asked %d times", err, asked.Load())
	}
}

func TestUpload_GivesUpWithItsSource(t *testing.T) {
	d := newDepot(t, cheap())
	alice := d.connect(d.alice)
	b := random(100)
	if _, err := alice.Upload(t.Context(), Upload{ID: contentID(b), Size: 100}, readerAt{iotest.ErrReader(errGone)}); !errors.Is(err, errGone) {
		t.Error(err)
	}
}

type readerAt struct{ r io.Reader }

func (r readerAt) ReadAt(p []byte, _ int64) (int, error) { return r.r.Read(p) }

func FuzzTicket(f *testing.F) {
	k := key.ServerFromSeed([32]byte{1})
	t1, err := newTicketer(k)
	if err != nil {
		f.Fatal(err)
	}
	good := t1.make(pass{Size: 5, Until: 1 << 40})
	f.Add(good)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := t1.check(b, time.Unix(1, 0)); err == nil && !bytes.Equal(b, good) {
			t.Errorf("%x was taken", b)
		}
	})
}

// A disk that was restored without a file: its readers are told that it is gone, its
// owner that it is to be uploaded, and after a day it takes no room any more.
func TestMedia_AFileThatARestoreLostIsGone(t *testing.T) {
	d := newDepot(t, cheap())
	alice := d.connect(d.alice)
	stays, gone := random(100), random(5000)
	_, err := d.keep(alice, stays)
	d.must(err)
	id, err := d.keep(alice, gone, func(u *Upload) { u.Keep = true })
	d.must(err)
	lose := func() {
		d.must(filepath.WalkDir(d.dir, func(path string, e fs.DirEntry, err error) error {
			if err == nil && strings.HasPrefix(e.Name(), id.String()) {
				err = os.Remove(path)
			}
			return err
		}))
	}
	lose()
	if _, err := d.read(alice, id); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("to a reader: %v", err)
	}
	begun := func() (begun uint64, there bool) {
		for _, p := range d.pins(alice).List {
			if p.ID == id {
				return p.Begun, true
			}
		}
		return 0, false
	}
	if at, there := begun(); at == 0 || !there {
		t.Error("it is listed as here")
	}
	if len(d.pins(alice).List) != 2 {
		t.Error("the other one is not listed")
	}
	_, err = d.keep(alice, gone, func(u *Upload) { u.Keep = true })
	d.must(err)
	if at, there := begun(); at != 0 || !there {
		t.Error("it was uploaded again and is not listed as here")
	}
	lose()
	begun()
	d.later(25 * time.Hour)
	if _, there := begun(); there {
		t.Error("it takes room for ever")
	}
}

// The bytes of files have a rate for each network, in both directions, whatever the
// number of its connections.
func TestMedia_OneNetworkDoesNotTakeTheWholeLine(t *testing.T) {
	d := newDepot(t, cheap())
	alice := d.connect(d.alice)
	b := random(192 << 10)
	const rate = 1 << 20
	least := time.Duration(float64(len(b)-32<<10) / rate * float64(time.Second))
	d.server.incoming, d.server.outgoing = newBuckets(rate, 32<<10), newBuckets(rate, 32<<10)
	began := time.Now()
	id, err := d.keep(alice, b)
	d.must(err)
	if took := time.Since(began); took < least {
		t.Errorf("the upload took %v", took)
	}
	began = time.Now()
	var wait sync.WaitGroup
	for range 2 {
		wait.Go(func() {
			if got, err := d.read(alice, id); err != nil || !bytes.Equal(got, b) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
	wait.Wait()
	if took := time.Since(began); took < 2*least {
		t.Errorf("two downloads took %v", took)
	}
}

func TestPaced_SharesARateAndEndsWithItsRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := newBuckets(1000, 2000)
		ctx, cancel := context.WithCancel(t.Context())
		began := time.Now()
		var wait sync.WaitGroup
		for range 4 {
			wait.Go(func() {
				if n, err := io.Copy(io.Discard, all.pace(ctx, [32]byte{1}, bytes.NewReader(make([]byte, 3000)))); n != 3000 || err != nil {
					t.Errorf("%d bytes, %v", n, err)
				}
			})
		}
		wait.Wait()
		if took := time.Since(began); took != 10*time.Second { // 12,000 bytes, 2,000 at once
			t.Errorf("it took %v", took)
		}
		failed := make(chan error)
		go func() {
			_, err := io.Copy(io.Discard, all.pace(ctx, [32]byte{1}, bytes.NewReader(make([]byte, 1<<20))))
			failed <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-failed; err == nil {
			t.Error("it waits on")
		}
	})
}

// A download that stands still ends, however much time there would be.
func TestMedia_ADownloadThatStandsStillEnds(t *testing.T) {
	d := newDepot(t, cheap())
	alice := d.connect(d.alice)
	id, err := d.keep(alice, random(300<<10))
	d.must(err)
	d.server.outgoing = newBuckets(1, 1)
	bob := d.connect(d.bob)
	bob.way.idle = 100 * time.Millisecond
	got := make(chan error, 1)
	go func() {
		_, err := d.read(bob, id)
		got <- err
	}()
	select {
	case err := <-got:
		if err == nil {
			t.Error("it came whole")
		}
	case <-time.After(20 * time.Second):
		t.Error("it waits on")
	}
}
