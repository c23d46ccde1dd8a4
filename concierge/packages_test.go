package concierge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
)

func packages(n int) (out [][]byte) {
	for i := range n {
		out = append(out, fmt.Appendf(nil, "key package %d", i))
	}
	return out
}

func (w *world) ofAlice(a Address) PackageRequest {
	return PackageRequest{Account: w.alice.ID, Generation: 1, Device: w.alice.Device.Public(), Address: a[:]}
}

func TestPackages_AreGivenOutOnceAndThenTheLast(t *testing.T) {
	w := newWorld(t, cheap())
	alice, guest := w.connect(w.alice), w.connect(nil)
	address, _ := w.queue(alice, w.alice, stream.Settings{})
	if _, err := guest.FetchPackage(t.Context(), w.ofAlice(address)); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("before there is any: %v", err)
	}
	const n = 8
	for range 2 { // an upload that is repeated adds nothing
		count, err := alice.UploadPackages(t.Context(), packages(n), []byte("last resort"))
		w.must(err)
		if count != (PackageCount{Uploaded: n, Last: true}) {
			t.Errorf("count %+v", count)
		}
	}
	var mu sync.Mutex
	seen := map[string]int{}
	var wait sync.WaitGroup
	for range 4 {
		c := w.connect(nil)
		wait.Go(func() {
			for range 3 {
				p, err := c.FetchPackage(t.Context(), w.ofAlice(address))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				seen[string(p.Body)]++
				mu.Unlock()
				if p.Last != (string(p.Body) == "last resort") {
					t.Errorf("%q: last %v", p.Body, p.Last)
				}
			}
		})
	}
	wait.Wait()
	for _, p := range packages(n) {
		if seen[string(p)] != 1 {
			t.Errorf("%s was given out %d times", p, seen[string(p)])
		}
	}
	if seen["last resort"] != 4 {
		t.Errorf("the last one: %d times", seen["last resort"])
	}
	count, err := alice.CountPackages(t.Context())
	w.must(err)
	if count != (PackageCount{Uploaded: n, Given: n, Last: true}) {
		t.Errorf("count %+v", count)
	}
	// An old upload that comes again must not bring one back.
	if _, err := alice.UploadPackages(t.Context(), packages(n), nil); err != nil {
		t.Fatal(err)
	}
	p, err := guest.FetchPackage(t.Context(), w.ofAlice(address))
	w.must(err)
	if !p.Last {
		t.Errorf("%q was given out again", p.Body)
	}
}

// A crash after a package was taken and before anything was trimmed.
func TestPackages_CrashNeverGivesOneOutTwice(t *testing.T) {
	w := newWorld(t, cheap())
	o, device := OwnerOf(w.alice.ID, 1), w.alice.Device.Public()
	_, err := uploadPackages(t.Context(), w.store, o, device, packages(3), nil)
	w.must(err)
	for i := range 3 {
		broken := crashing{w.store}
		if _, _, err := takePackage(t.Context(), broken, o, device, newMessageID()); !errors.Is(err, errCrash) {
			t.Fatalf("take %d: %v", i, err)
		}
	}
	if b, _, err := takePackage(t.Context(), w.store, o, device, newMessageID()); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("%q was given out: %v", b, err)
	}
}

var errCrash = errors.New("crash")

// crashing is a store whose process dies at the first Trim.
type crashing struct{ stream.Store }

func (crashing) Trim(context.Context, stream.ID, uint64) error { return errCrash }

func TestPackages_NeedAnAddressOrWork(t *testing.T) {
	w := newWorld(t, cheap())
	alice, bob, guest := w.connect(w.alice), w.connect(w.bob), w.connect(nil)
	_, err := alice.UploadPackages(t.Context(), packages(3), nil)
	w.must(err)
	foreign, _ := w.queue(bob, w.bob, stream.Settings{})
	for name, r := range map[string]PackageRequest{"no address of hers": w.ofAlice(foreign), "an invented one": w.ofAlice(Address{1})} {
		if _, err := guest.FetchPackage(t.Context(), r); wire.CodeOf(err) != wire.Unauthorized {
			t.Errorf("%s: %v", name, err)
		}
	}
	r := w.ofAlice(Address{})
	r.Address = nil
	d, err := guest.Describe(t.Context())
	w.must(err)
	r.Work, err = WorkForPackage(t.Context(), d, r)
	w.must(err)
	_, err = guest.FetchPackage(t.Context(), r)
	w.must(err)
	if _, err := guest.FetchPackage(t.Context(), r); wire.CodeOf(err) != wire.Exists {
		t.Errorf("the same work again: %v", err)
	}
	r.Address = []byte{}
	if p, err := guest.FetchPackage(t.Context(), r); err == nil {
		t.Errorf("the same work in another encoding gets %q", p.Body)
	}
	r.Work.Period -= 2
	if _, err := guest.FetchPackage(t.Context(), r); wire.CodeOf(err) != wire.Stale {
		t.Errorf("old work: %v", err)
	}
}

func TestPackages_OfARemovedDeviceAreForgotten(t *testing.T) {
	w := newWorld(t, cheap())
	alice, guest := w.connect(w.alice), w.connect(nil)
	address, _ := w.queue(alice, w.alice, stream.Settings{})
	_, err := alice.UploadPackages(t.Context(), packages(3), []byte("last"))
	w.must(err)
	second := fixedDevice(2)
	w.devices(w.alice, w.alice.Device, second)
	w.removeFirst(second)
	w.server.members.look(t.Context())
	w.finished(alice)
	if p, err := guest.FetchPackage(t.Context(), w.ofAlice(address)); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("%q is given out: %v", p.Body, err)
	}
}

func fixedDevice(n byte) key.Device { return key.DeviceFromSeed([32]byte{n}) }

func TestUpload_HoldsTheBounds(t *testing.T) {
	w := newWorld(t, cheap())
	alice := w.connect(w.alice)
	for name, once := range map[string][][]byte{"too large": {make([]byte, MaxPackage+1)}, "too many": packages(MaxPackages + 1), "empty": {{}}} {
		if _, err := alice.UploadPackages(t.Context(), once, nil); wire.CodeOf(err) != wire.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := alice.UploadPackages(t.Context(), packages(MaxPackages), nil)
	w.must(err)
	if _, err := alice.UploadPackages(t.Context(), [][]byte{{1}}, nil); wire.CodeOf(err) != wire.Exhausted {
		t.Errorf("one more: %v", err)
	}
}

func TestKnock_IsPaidForWithWorkAndReadByTheOwner(t *testing.T) {
	w := newWorld(t, cheap())
	alice, guest := w.connect(w.alice), w.connect(nil)
	d, err := guest.Describe(t.Context())
	w.must(err)
	k := Knock{Account: w.alice.ID, Generation: 1, Body: []byte("sealed")}
	k.Work, err = WorkForKnock(t.Context(), d, k)
	w.must(err)
	w.must(guest.Knock(t.Context(), k))
	w.must(guest.Knock(t.Context(), k)) // an answer that got lost
	kept, err := alice.Kept(t.Context())
	w.must(err)
	page, err := alice.Range(t.Context(), kept.Knocks, 0, 1<<10)
	w.must(err)
	if len(page.Entries) != 1 || string(page.Entries[0].Body) != "sealed" {
		t.Errorf("knocks: %v", page)
	}
	other := k
	other.Body = []byte("another body") // 1 in 8 nonces suffice for it: take one that does not
	for err = nil; err == nil; other.Body = append(other.Body, '.') {
		err = guest.Knock(t.Context(), other)
	}
	if wire.CodeOf(err) != wire.Unauthorized {
		t.Errorf("work for another body: %v", err)
	}
	for name, bad := range map[string]struct {
		k    Knock
		code wire.Code
	}{
		"nobody":    {Knock{Account: namesvc.AccountID{1}, Generation: 1, Body: k.Body}, wire.NotFound},
		"former":    {Knock{Account: k.Account, Generation: 2, Body: k.Body}, wire.NotFound},
		"empty":     {Knock{Account: k.Account, Generation: 1}, wire.Invalid},
		"too large": {Knock{Account: k.Account, Generation: 1, Body: make([]byte, MaxKnock+1)}, wire.Invalid},
	} {
		if err := guest.Knock(t.Context(), bad.k); wire.CodeOf(err) != bad.code {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestHandler_AnswersOneShotRequests(t *testing.T) {
	w := newWorld(t, cheap())
	w.connect(w.alice)
	ts := httptest.NewServer(w.server.Handler())
	defer ts.Close()
	get := func(path string) (int, string) {
		resp, err := http.Get(ts.URL + path)
		w.must(err)
		defer resp.Body.Close()
		var b bytes.Buffer
		b.ReadFrom(resp.Body)
		return resp.StatusCode, b.String()
	}
	code, text := get("/v1/descriptor")
	var d Descriptor
	if err := wire.Decode([]byte(text), &d, 1<<10); code != 200 || err != nil || d != w.server.descriptor() {
		t.Errorf("descriptor: %d %v %+v", code, err, d)
	}
	if code, text = get("/v1/descriptor?format=json"); code != 200 || !strings.Contains(text, `"work_bits": 3`) || !strings.Contains(text, w.harbor.ID.String()) {
		t.Errorf("descriptor: %d %s", code, text)
	}
	w.server.members.look(t.Context())
	if code, text = get("/v1/healthz"); code != 200 || !strings.Contains(text, `"connections":1`) {
		t.Errorf("health: %d %s", code, text)
	}
	post := func(path string, v any) (int, string) {
		resp, err := http.Post(ts.URL+path, "application/cbor", bytes.NewReader(wire.Encode(v)))
		w.must(err)
		defer resp.Body.Close()
		var b bytes.Buffer
		b.ReadFrom(resp.Body)
		return resp.StatusCode, b.String()
	}
	k := Knock{Account: w.alice.ID, Generation: 1, Body: []byte("sealed")}
	var err error
	k.Work, err = WorkForKnock(t.Context(), d, k)
	w.must(err)
	if code, text = post("/v1/knock", k); code != http.StatusNoContent {
		t.Errorf("knock: %d %s", code, text)
	}
	k.Body = make([]byte, 2*MaxKnock)
	if code, text = post("/v1/knock", k); code != wire.Invalid.HTTPStatus() {
		t.Errorf("large knock: %d %s", code, text)
	}
	if code, text = post("/v1/package", w.ofAlice(Address{})); code != wire.Unauthorized.HTTPStatus() || !strings.Contains(text, `"unauthorized"`) {
		t.Errorf("package: %d %s", code, text)
	}
	rec := httptest.NewRecorder()
	w.server.Metrics().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if !strings.Contains(rec.Body.String(), "confab_concierge_knocks_total 1") {
		t.Errorf("metrics: %s", rec.Body)
	}
}

// What a thief of the disk, or of the log, must not find.
func TestStoreAndLog_HoldNoHandleAddressSeedOrAccount(t *testing.T) {
	w := newWorld(t, cheap())
	alice, bob := w.connect(w.alice), w.connect(w.bob)
	seed := newSeed()
	_, err := alice.CreateQueue(t.Context(), seed, stream.Settings{})
	w.must(err)
	address := OwnerOf(w.alice.ID, 1).Address(seed)
	w.must(write(t.Context(), bob, address, "a body, which must be there: so the search works"))
	write(t.Context(), bob, Address{7}, "x")
	w.dial(nil)
	w.blind.Store(true)
	w.server.members.look(t.Context())
	w.must(w.server.Close(t.Context()))
	w.must(w.store.Close())
	disk := []byte(w.log.String())
	if len(disk) == 0 {
		t.Error("nothing was logged")
	}
	w.must(filepath.WalkDir(w.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		disk = append(disk, b...)
		return err
	}))
	if !bytes.Contains(disk, []byte("a body, which must be there")) {
		t.Error("the search does not work")
	}
	seedOf := w.harbor.Server.Seed()
	for what, secret := range map[string][]byte{
		"alice": []byte("alice"), "bob": []byte("bob"), "harbor": []byte("@harbor"), "address": address[:], "seed": seed[:],
		"account": w.alice.ID[:], "account as text": []byte(w.alice.ID.String()), "bob's account": w.bob.ID[:],
		"address as text": fmt.Appendf(nil, "%x", address[:]), "server key": seedOf[:],
	} {
		if bytes.Contains(disk, secret) {
			t.Errorf("%s is there", what)
		}
	}
}

// between is a store on which somebody else acts after the first Range of an id.
type between struct {
	stream.Store
	id  stream.ID
	act *func()
}

func (b between) Range(ctx context.Context, id stream.ID, after uint64, max int) (stream.Page, error) {
	page, err := b.Store.Range(ctx, id, after, max)
	if act := *b.act; id == b.id && act != nil {
		*b.act = nil
		act()
	}
	return page, err
}

// Another process takes a package after this one has chosen the same.
func TestPackages_TwoProcessesNeverGiveOutTheSame(t *testing.T) {
	w := newWorld(t, cheap())
	o, device := OwnerOf(w.alice.ID, 1), w.alice.Device.Public()
	_, err := uploadPackages(t.Context(), w.store, o, device, packages(3), nil)
	w.must(err)
	var theirs []byte
	act := func() {
		theirs, _, err = takePackage(t.Context(), w.store, o, device, newMessageID())
		w.must(err)
	}
	ours, _, err := takePackage(t.Context(), between{w.store, o.kept(keptPackages, &device), &act}, o, device, newMessageID())
	w.must(err)
	if string(theirs) != "key package 0" || string(ours) != "key package 1" {
		t.Errorf("they have %q, we have %q", theirs, ours)
	}
}
