package remote_test

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/confab-chat/confab/chain/query"
	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/internal/remote"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc/wire"
)

// heads gives out a made-up chain's heads.
type heads struct{ *fakechain.Chain }

func (h heads) Newest() uint64 { return h.Height() }

func (h heads) Head(height uint64) (verify.Head, verify.Validators, error) {
	head, set := h.Chain.Head(height)
	return head, set.Validators, nil
}

// serves returns the address of a server of heads and nothing else: those of the
// first chain up to a height, and of the second from there on.
func serves(t *testing.T, c *fakechain.Chain, upTo uint64, then *fakechain.Chain) string {
	t.Helper()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var ask query.Ask
		for name, into := range map[string]*uint64{"at": &ask.At, "pin": &ask.Pin, "known": &ask.Known} {
			*into, _ = strconv.ParseUint(r.URL.Query().Get(name), 10, 64)
		}
		shown := c
		if ask.At > upTo {
			shown = then
		}
		s := &query.Server{Chain: c.ID(), Heads: heads{shown}}
		b, err := s.Bundle(ask)
		if err != nil {
			t.Error(err)
		}
		w.Write(b.Encode())
	}))
	t.Cleanup(web.Close)
	return web.URL
}

// dead returns an address where nobody listens any more.
func dead(t *testing.T) string {
	t.Helper()
	web := httptest.NewServer(http.NotFoundHandler())
	web.Close()
	return web.URL
}

func network(t *testing.T, pin verify.Pin, urls ...string) *remote.Network {
	t.Helper()
	n, err := remote.New(pin, urls, nil)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestHead_TwoSourcesThatDifferEndAllTrust: validators signed two blocks of one
// height, and each source shows another; also behind one that is dead, and also if
// the second contradicts what was verified earlier.
func TestHead_TwoSourcesThatDifferEndAllTrust(t *testing.T) {
	c := fakechain.New(fakechain.Spec{Start: time.Now().Add(-time.Minute)})
	c.Skip(5)
	f := c.Fork()
	c.Skip(5)
	f.Skip(5)
	one, other, late := serves(t, c, 100, nil), serves(t, f, 100, nil), serves(t, c, 8, f)
	for name, tc := range map[string]struct {
		urls  []string
		known uint64 // a height that is verified before
		at    uint64
	}{
		"two":                      {[]string{one, other}, 4, 8},
		"without anything known":   {[]string{one, other}, 0, 8},
		"with a dead one between":  {[]string{one, dead(t), other}, 0, 8},
		"the block after the last": {[]string{one, late}, 8, 9},
		"a block later":            {[]string{one, late}, 8, 10},
	} {
		n := network(t, c.Pin(1), tc.urls...)
		if tc.known > 0 {
			if _, _, err := n.Head(t.Context(), tc.known); err != nil {
				t.Errorf("%s: a block of both: %v", name, err)
			}
		}
		for range 2 { // and there is no way back
			_, _, err := n.Head(t.Context(), tc.at)
			if wire.CodeOf(err) != wire.Conflict || !strings.Contains(err.Error(), tc.urls[len(tc.urls)-1]) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, _, err := n.Head(t.Context(), 4); wire.CodeOf(err) != wire.Conflict {
			t.Errorf("%s: something is believed: %v", name, err)
		}
	}
}

// TestDoubts_NameWhoConfirmsNothing, and why.
func TestDoubts_NameWhoConfirmsNothing(t *testing.T) {
	c := fakechain.New(fakechain.Spec{Start: time.Now().Add(-time.Minute)})
	c.Skip(5)
	one, two, gone := serves(t, c, 100, nil), serves(t, c, 100, nil), dead(t)
	empty := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(empty.Close)
	for name, tc := range map[string]struct {
		urls, doubted []string
		others        int
	}{
		"both answer":            {[]string{one, two}, nil, 2},
		"the second is dead":     {[]string{one, gone}, []string{gone}, 1},
		"the second is no node":  {[]string{one, empty.URL}, []string{empty.URL}, 1},
		"the first is dead":      {[]string{gone, one, two}, []string{gone}, 2},
		"a third one confirms":   {[]string{one, gone, two}, []string{gone}, 2},
		"who is alone is enough": {[]string{one}, nil, 1},
	} {
		n := network(t, c.Pin(1), tc.urls...)
		if _, _, err := n.Head(t.Context(), 4); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		doubts, others := n.Doubts()
		var got []string
		for _, d := range doubts {
			got = append(got, d.Source)
			if d.Err == nil {
				t.Errorf("%s: %s is doubted for nothing", name, d.Source)
			}
		}
		if strings.Join(got, " ") != strings.Join(tc.doubted, " ") || others != tc.others {
			t.Errorf("%s: doubts %v beside %d, want %v beside %d", name, got, others, tc.doubted, tc.others)
		}
	}
}
