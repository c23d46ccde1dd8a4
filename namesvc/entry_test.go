package namesvc_test

import (
	"strings"
	"testing"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
)

// entry returns a small valid entry.
func entry() namesvc.Entry {
	return namesvc.Entry{
		Version: 1, Account: seed32(1), Kind: namesvc.Service, Generation: 1, Seq: 3, OpLog: make([][32]byte, 2),
		Roots: []key.Public{key.RootFromSeed(seed32(1)).Public()}, Handles: []namesvc.Lease{{Handle: "alice", Generation: 1}},
		Registered: 100, LastActive: 200, Expires: 300, Lapses: 400,
	}
}

// largestEntry has everything that an entry may have, as long as it may be.
func largestEntry() namesvc.Entry {
	const much, late = 1 << 31, 1 << 40
	e := namesvc.Entry{
		Version: 1, Kind: namesvc.Service, Generation: much, Seq: 1<<64 - 1, OpLog: make([][32]byte, 64), NextRoot: make([]byte, 32),
		DeviceSeq: 1 << 63, Registered: late, LastActive: late, Expires: late, Lapses: late, Quota: late, Records: largestRecords(),
		Pending: &namesvc.Pending{Kind: namesvc.OpRelease, Rank: 4, Effective: late, Handle: "a2345678901234567890"},
	}
	for i := range byte(namesvc.MaxRoots) {
		e.Roots = append(e.Roots, key.RootFromSeed(seed32(i+1)).Public())
	}
	for _, h := range []namesvc.Handle{"a2345678901234567890", "b2345678901234567890", "c2345678901234567890"} {
		e.Handles = append(e.Handles, namesvc.Lease{Handle: h, Generation: much})
	}
	return e
}

func largestRecords() namesvc.Records {
	r := namesvc.Records{Profile: make([]byte, 32), Avatar: make([]byte, 32), Service: &namesvc.Endpoint{
		Roles: 15, Key: key.RootFromSeed(seed32(9)).Public(), Consent: true,
	}}
	for range namesvc.MaxAlsoKnownAs {
		r.AlsoKnownAs = append(r.AlsoKnownAs, "did:"+strings.Repeat("a", 124))
	}
	for i := range byte(namesvc.MaxConcierges) {
		r.Concierges = append(r.Concierges, namesvc.Concierge{
			Account: seed32(i), Generation: 1 << 31, Priority: 255, Acceptance: make([]byte, key.SignatureSize),
		})
	}
	for range namesvc.MaxURLs {
		r.Service.URLs = append(r.Service.URLs, "https://"+strings.Repeat("a", 192))
	}
	for range namesvc.MaxPeers {
		r.Service.Peers = append(r.Service.Peers, "/"+strings.Repeat("a", 199))
	}
	return r
}

// TestEntry_TheLargestFits: an entry that outgrew its bound could be written and
// never read again, and the chain would stop at the next op that needs it.
func TestEntry_TheLargestFits(t *testing.T) {
	b := largestEntry().Encode()
	if len(b) > namesvc.MaxEntry {
		t.Errorf("the largest entry has %d bytes, %d are allowed", len(b), namesvc.MaxEntry)
	}
	if _, err := namesvc.DecodeEntry(b); err != nil {
		t.Error(err)
	}
}

// TestOp_EveryBodyFitsAlone makes the largest op of each kind.
func TestOp_EveryBodyFitsAlone(t *testing.T) {
	g := namesvc.Genesis{Version: 1, Kind: namesvc.Service, NextRoot: make([]byte, 32), Roots: largestEntry().Roots}
	var devices []namesvc.Grant
	for range namesvc.MaxDevices {
		devices = append(devices, namesvc.Grant{Scopes: 15, Expires: 1 << 40, Consent: make([]byte, 64)})
	}
	records := largestRecords()
	const handle = "a2345678901234567890"
	for name, body := range map[string]any{
		"registration with records": namesvc.Registration{Handle: handle, Genesis: g.Encode(), Records: &records},
		"registration with devices": namesvc.Registration{Handle: handle, Genesis: g.Encode(), Devices: devices},
		"records":                   records,
		"devices":                   namesvc.DeviceList{Devices: devices},
		"roots":                     namesvc.RootList{Roots: g.Roots, NextRoot: g.NextRoot},
	} {
		op := namesvc.SignOp(namesvc.Op{
			Kind: namesvc.OpRegister, Chain: strings.Repeat("c", 50), Seq: 1 << 63, Expires: 1 << 63,
		}, body, key.RootFromSeed(seed32(1)))
		if len(op) > namesvc.MaxOp {
			t.Errorf("%s: %d bytes, %d are allowed", name, len(op), namesvc.MaxOp)
		}
	}
}

func TestDecodeEntry_RefusesWhatNoChainWrites(t *testing.T) {
	if _, err := namesvc.DecodeEntry(entry().Encode()); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*namesvc.Entry){
		"version":         func(e *namesvc.Entry) { e.Version = 2 },
		"kind":            func(e *namesvc.Entry) { e.Kind = 4 },
		"no kind":         func(e *namesvc.Entry) { e.Kind = 0 },
		"no seq":          func(e *namesvc.Entry) { e.Seq, e.OpLog = 0, nil },
		"no generation":   func(e *namesvc.Entry) { e.Generation = 0 },
		"missing peak":    func(e *namesvc.Entry) { e.OpLog = e.OpLog[:1] },
		"extra peak":      func(e *namesvc.Entry) { e.OpLog = make([][32]byte, 3) },
		"short next root": func(e *namesvc.Entry) { e.NextRoot = make([]byte, 31) },
		"guardians":       func(e *namesvc.Entry) { e.Guardians = make([]byte, 32) },
		"flags":           func(e *namesvc.Entry) { e.Flags = 1 },
		"no roots":        func(e *namesvc.Entry) { e.Roots = nil },
		"doubled root":    func(e *namesvc.Entry) { e.Roots = append(e.Roots, e.Roots[0]) },
		"zero root":       func(e *namesvc.Entry) { e.Roots[0] = key.Public{} },
		"next is a root": func(e *namesvc.Entry) {
			h := e.Roots[0].NextHash()
			e.NextRoot = h[:]
		},
		"four handles":       func(e *namesvc.Entry) { e.Handles = make([]namesvc.Lease, 4) },
		"bad handle":         func(e *namesvc.Entry) { e.Handles[0].Handle = "Alice" },
		"lease generation 0": func(e *namesvc.Entry) { e.Handles[0].Generation = 0 },
		"pending kind":       func(e *namesvc.Entry) { e.Pending = &namesvc.Pending{Kind: namesvc.OpRenew, Handle: "alice"} },
		"pending handle":     func(e *namesvc.Entry) { e.Pending = &namesvc.Pending{Kind: namesvc.OpRelease, Handle: "a"} },
		"bad records":        func(e *namesvc.Entry) { e.Records.Profile = []byte{1} },
		"person as service": func(e *namesvc.Entry) {
			e.Kind, e.Records.Service = namesvc.Person, &namesvc.Endpoint{Roles: 1, Key: e.Roots[0]}
		},
	} {
		e := entry()
		change(&e)
		if _, err := namesvc.DecodeEntry(e.Encode()); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := namesvc.DecodeEntry(make([]byte, namesvc.MaxEntry+1)); err == nil {
		t.Error("oversize: accepted")
	}
}

func TestRecords_Addresses(t *testing.T) {
	e := entry()
	e.Records.Service = &namesvc.Endpoint{Roles: namesvc.RoleHub, Key: e.Roots[0]}
	try := func(urls, peers, names []string) error {
		e.Records.AlsoKnownAs, e.Records.Service.URLs, e.Records.Service.Peers = names, urls, peers
		_, err := namesvc.DecodeEntry(e.Encode())
		return err
	}
	for _, u := range []string{
		"https://a", "https://a.example", "https://a.example:8443/path?x=1#y", "https://[2001:db8::1]/", "https://xn--bcher-kva.example",
		"http://127.0.0.1", "http://127.0.0.1:80/", "http://localhost:8080", "http://[::1]", "http://[::1]:65535/x",
		"https://" + strings.Repeat("a", 192),
	} {
		if err := try([]string{u}, nil, nil); err != nil {
			t.Errorf("%s: %v", u, err)
		}
	}
	for _, u := range []string{
		"", "a.example", "http://a.example", "HTTPS://a.example", "https://", "https:///path", "https://:443", "https://:443/x", "ftp://a",
		"http://localhost.evil.example", "http://localhostevil", "http://127.0.0.1.evil.example", "http://localhost:80@evil.example", "http://localhost:123456",
		"http://localhost:", "http://localhost:8x", "http://[::1]x", "http://[::2]", "https://user@a.example", "https://a?x", "https://a#x",
		"https://a b", "https://a\n", "https://a\x00", "https://a\"", "https://<a>", "https://a\\b", "https://a'b", "https://a`b", "https://bücher",
		"javascript:alert(1)", "https://" + strings.Repeat("a", 193),
	} {
		if try([]string{u}, nil, nil) == nil {
			t.Errorf("%q is accepted as a URL", u)
		}
	}
	for p, ok := range map[string]bool{
		"/dns/a.example/tcp/443": true, "/": true, "": false, "dns/a": false, "/ip4/1.2.3.4 ": false, "/" + strings.Repeat("a", 200): false,
	} {
		if (try(nil, []string{p}, nil) == nil) != ok {
			t.Errorf("the libp2p address %q: want accepted %v", p, ok)
		}
	}
	for n, ok := range map[string]bool{
		"did:plc:abc": true, "https://alice.example": true, "nostr:npub1": true, "alice": false, "did:a b": false, "did:" + strings.Repeat("a", 125): false,
	} {
		if (try(nil, nil, []string{n}) == nil) != ok {
			t.Errorf("the name %q: want accepted %v", n, ok)
		}
	}
	many := []string{"https://a", "https://a", "https://a", "https://a", "https://a", "https://a"}
	if try(many[:5], nil, nil) == nil || try(nil, nil, many) == nil || try(many[:4], nil, many[:5]) != nil {
		t.Error("the bounds on how many are not kept")
	}
}

// TestEntry_TimeActsOnReading: nothing on the chain happens by itself.
func TestEntry_TimeActsOnReading(t *testing.T) {
	e := entry()
	e.Handles = append(e.Handles, namesvc.Lease{Handle: "bobby", Generation: 1})
	e.Pending = &namesvc.Pending{Kind: namesvc.OpRelease, Rank: 1, Effective: 250, Handle: "alice"}
	before := string(e.Encode())
	for now, want := range map[uint64]struct {
		primary namesvc.Handle
		pending bool
		handles int
	}{
		0: {"alice", true, 2}, 249: {"alice", true, 2}, 250: {"bobby", false, 1}, 399: {"bobby", false, 1},
		400: {"", false, 0}, 1 << 60: {"", false, 0},
	} {
		got := e.At(now)
		if got.Primary() != want.primary || (got.Pending != nil) != want.pending || len(got.Handles) != want.handles {
			t.Errorf("at %d: primary %q, %d handles, pending %v", now, string(got.Primary()), len(got.Handles), got.Pending)
		}
	}
	if string(wire.Encode(e)) != before {
		t.Error("reading changed the entry")
	}
}
