package host

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// Sponsor says whether a concierge pays for registrations, and for whose.
type Sponsor struct {
	On         bool   `toml:"on"`
	Daily      uint64 `toml:"daily"`
	Open       bool   `toml:"open"`
	PerNetwork int    `toml:"per_network"`
}

func (s Sponsor) check() error {
	switch {
	case s.Daily < 1 || s.Daily > namesvc.MaxSponsorDaily:
		return wire.Errorf(wire.Invalid, "sponsor.daily is %d: it must be from 1 to %d; to sponsor nobody, set on = false", s.Daily, namesvc.MaxSponsorDaily)
	case s.PerNetwork < 1 || s.PerNetwork > namesvc.MaxSponsorDaily:
		return wire.Errorf(wire.Invalid, "sponsor.per_network is %d: it must be from 1 to %d", s.PerNetwork, namesvc.MaxSponsorDaily)
	}
	return nil
}

// maxSponsorFile bounds the file of the key.
const maxSponsorFile = 8 << 10

// MakeSponsorKey returns the key of a folder's tickets, and makes it if there is
// none.
func MakeSponsorKey(home string) (*rsa.PrivateKey, error) {
	k, err := SponsorKey(home)
	if wire.CodeOf(err) != wire.NotFound {
		return k, err
	}
	if _, err := os.Stat(filepath.Join(home, keyFile)); err != nil {
		return nil, wire.Errorf(wire.NotFound, "%s is no concierge's folder: run confab-concierge init first, or name another with --home", home)
	}
	if k, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		return nil, fmt.Errorf("make key for tickets: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return nil, fmt.Errorf("make key for tickets: %w", err)
	}
	err = writeNew(filepath.Join(home, sponsorFile), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	if errors.Is(err, fs.ErrExist) {
		return SponsorKey(home) // another process was first
	}
	if err != nil {
		return nil, fmt.Errorf("keep key for tickets: %w", err)
	}
	return k, nil
}

// SponsorKey reads the key of a folder's tickets; the error is of kind NotFound if
// there is none.
func SponsorKey(home string) (*rsa.PrivateKey, error) {
	path := filepath.Join(home, sponsorFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, wire.Errorf(wire.NotFound, "%s does not exist: make and declare a key with confab-concierge sponsor declare, or restore it from a backup made with --keys", path)
	}
	if err != nil {
		return nil, fmt.Errorf("read key for tickets: %w", err)
	}
	damaged := wire.Errorf(wire.Invalid, "%s does not hold a key for tickets", path) // and its content stays there
	block, _ := pem.Decode(b[:min(len(b), maxSponsorFile)])
	if block == nil {
		return nil, damaged
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, damaged
	}
	k, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return nil, damaged
	}
	return k, concierge.CheckSponsorKey(k)
}

// openSponsor returns how the concierge sponsors; nil: it does not. That the chain
// knows another key is no reason not to start, but tickets are worth nothing.
func (h *Host) openSponsor(ctx context.Context, chain *lightclient.Client, me concierge.Service) (*concierge.Sponsorship, error) {
	c := h.config.Sponsor
	if !c.On {
		return nil, nil
	}
	k, err := SponsorKey(h.home)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, resolveFor)
	defer cancel()
	switch _, leaf, _, err := chain.Sponsor(ctx, me.Account, 0); {
	case err != nil && wire.CodeOf(err) != wire.NotFound:
		h.logger.Warn("what the chain says of this sponsor could not be asked", "error", err)
	case !bytes.Equal(leaf.Key, concierge.SponsorModulus(k)):
		h.logger.Warn("the chain knows another key for tickets, or none: nobody can use ours", "do", "confab-concierge sponsor declare")
	case leaf.Quota == 0:
		h.logger.Warn("the chain lets this sponsor pay for nothing", "do", "have the validators' operators vote for a quota")
	}
	return &concierge.Sponsorship{Key: k, Daily: c.Daily, Open: c.Open, PerNetwork: c.PerNetwork}, nil
}

// invited is the answer to the operator who makes codes.
type invited struct {
	Codes []string `json:"codes"`
}

// adminSponsor serves the operator's questions about sponsoring.
func (h *Host) adminSponsor(mux *http.ServeMux) {
	mux.HandleFunc("POST /invite", func(w http.ResponseWriter, r *http.Request) {
		out, err := h.invite(r.Context(), r.URL.Query())
		reply(w, out, err)
	})
	mux.HandleFunc("GET /sponsor", func(w http.ResponseWriter, r *http.Request) {
		s, err := h.server.SponsorStatus(r.Context())
		reply(w, s, err)
	})
}

func (h *Host) invite(ctx context.Context, q url.Values) (out invited, err error) {
	n, err := strconv.Atoi(q.Get("count"))
	if err != nil {
		return out, wire.Errorf(wire.Invalid, "count is no number")
	}
	life, err := time.ParseDuration(q.Get("for"))
	if err != nil {
		return out, wire.Errorf(wire.Invalid, "for is no duration")
	}
	codes, err := h.server.Invite(ctx, n, life)
	for _, c := range codes {
		out.Codes = append(out.Codes, c.Code())
	}
	return out, err
}

// Invite has the concierge that runs in a folder make invitation codes that are
// good for life, each for one ticket. They are shown here and kept nowhere.
func Invite(ctx context.Context, home string, count int, life time.Duration) ([]string, error) {
	var out invited
	q := url.Values{"count": {strconv.Itoa(count)}, "for": {life.String()}}
	err := askAdmin(ctx, home, http.MethodPost, "/invite?"+q.Encode(), &out)
	return out.Codes, err
}

// AskSponsor asks the concierge that runs in a folder how it sponsors.
func AskSponsor(ctx context.Context, home string) (concierge.SponsorStatus, error) {
	var s concierge.SponsorStatus
	err := askAdmin(ctx, home, http.MethodGet, "/sponsor", &s)
	return s, err
}
