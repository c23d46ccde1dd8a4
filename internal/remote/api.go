package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/confab-chat/confab/chain"
	"github.com/confab-chat/confab/chain/query"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc/wire"
)

// api is the part of the query API that a light client has no use for.
type api struct {
	base   string
	client *http.Client
}

func newAPI(base string, client *http.Client) api {
	own := *client
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return api{base: base, client: &own}
}

// get returns the body of a good answer, at most limit bytes.
func (a api) get(ctx context.Context, path string, limit int) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.base+path, nil)
	if err != nil {
		return nil, wire.Errorf(wire.Invalid, "ask %s: %w", a.base, err)
	}
	res, err := a.client.Do(req)
	if err != nil {
		if bare := (*url.Error)(nil); errors.As(err, &bare) {
			err = bare.Err
		}
		return nil, wire.Errorf(wire.Unavailable, "%s: %w", a.base, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, int64(limit)+1))
	switch {
	case err != nil:
		return nil, wire.Errorf(wire.Unavailable, "%s: read answer: %w", a.base, err)
	case res.StatusCode != http.StatusOK:
		return nil, a.failure(res.StatusCode, b)
	case len(b) > limit:
		return nil, wire.Errorf(wire.Invalid, "%s: the answer is larger than %d bytes", a.base, limit)
	}
	return b, nil
}

// failure reads the error of an answer, whose text comes from a stranger.
func (a api) failure(status int, b []byte) error {
	var p query.Problem
	if wire.Decode(b, &p, 4<<10) != nil {
		return wire.Errorf(wire.Unavailable, "%s: it answered with status %d", a.base, status)
	}
	return wire.Errorf(wire.CodeNamed(p.Code), "%s: %s", a.base, lightclient.Printable(p.Text))
}

// first asks the sources in turn until one answers what use takes.
func (n *Network) first(use func(s *origin) error) error {
	var failures []error
	for _, s := range n.sources {
		err := use(s)
		if err == nil {
			return nil
		}
		failures = append(failures, err)
	}
	return summary(failures)
}

// maxGenesis bounds a genesis file: 256 founders of some 300 bytes, and the
// parameters.
const maxGenesis = 256 << 10

// Genesis returns the network's genesis file, as a source gives it. It is for the
// caller to check: a state that was proven says what its chain began with.
func (n *Network) Genesis(ctx context.Context) (out []byte, err error) {
	err = n.first(func(s *origin) error {
		out, err = s.api.get(ctx, "/v1/genesis", maxGenesis)
		return err
	})
	return out, err
}

// Bounds of what is said about peers.
const (
	maxPeers     = 64
	maxPeersSize = 16 << 10
)

// Peers returns addresses of the network's nodes, "id@host:port", as all sources
// give them. A host that a source leaves open is its own.
func (n *Network) Peers(ctx context.Context) ([]string, error) {
	var out []string
	var failures []error
	for _, s := range n.sources {
		b, err := s.api.get(ctx, "/v1/peers", maxPeersSize)
		var p query.Peers
		if err == nil {
			err = wire.Decode(b, &p, maxPeersSize)
		}
		if err != nil {
			failures = append(failures, err)
			continue
		}
		for _, peer := range p.Peers[:min(len(p.Peers), maxPeers)] {
			if address, ok := s.api.reachable(peer); ok && !slices.Contains(out, address) {
				out = append(out, address)
			}
		}
	}
	if len(out) == 0 {
		return nil, wire.Errorf(wire.Unavailable, "no source says whom to connect to: %w", errors.Join(failures...))
	}
	return out, nil
}

// reachable puts the host of the source where a peer's is unspecified.
func (a api) reachable(peer string) (string, bool) {
	id, address, ok := strings.Cut(peer, "@")
	host, port, err := net.SplitHostPort(address)
	if !ok || err != nil {
		return "", false
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		u, err := url.Parse(a.base)
		if err != nil {
			return "", false
		}
		host = u.Hostname()
	}
	return id + "@" + net.JoinHostPort(host, port), true
}

// maxTurns bounds an answer about whose turn it is.
const maxTurns = verify.MaxValidatorsSize + 10*verify.MaxValidators + 64

// Turns returns the priorities by which the validators of a height take turns to
// propose, in the order of their set, which is compared with the verified head's.
// The priorities themselves are proven by nothing; where several sources are
// named, the first two that answer must agree.
func (n *Network) Turns(ctx context.Context, height uint64) ([]int64, error) {
	_, set, err := n.Head(ctx, height)
	if err != nil {
		return nil, err
	}
	var answers [][]int64
	var failures []error
	for _, s := range n.sources {
		b, err := s.api.get(ctx, fmt.Sprintf("/v1/validators?height=%d", height), maxTurns)
		var t query.Turns
		if err == nil {
			err = wire.Decode(b, &t, maxTurns)
		}
		if err == nil && (t.Height != height || t.Validators.Hash() != set.Hash() || len(t.Priorities) != set.Len()) {
			err = wire.Errorf(wire.Invalid, "%s: it answered with other validators", s.api.base)
		}
		if err != nil {
			failures = append(failures, err)
			continue
		}
		if answers = append(answers, t.Priorities); len(answers) == 2 {
			break
		}
	}
	switch {
	case len(answers) == 0:
		return nil, summary(failures)
	case len(answers) == 2 && !slices.Equal(answers[0], answers[1]):
		return nil, wire.Errorf(wire.Invalid, "two sources differ in whose turn it is at height %d; name other sources", height)
	}
	return answers[0], nil
}

// Seals returns the seals of a checkpoint as a source gives them. The error is of
// kind NotFound if no source has any.
func (n *Network) Seals(ctx context.Context, number uint64) (seals verify.Seals, err error) {
	err = n.first(func(s *origin) error {
		c, err := n.sealed(ctx, s, number)
		if err != nil {
			return err
		}
		if c.Seals == nil {
			return wire.Errorf(wire.NotFound, "%s: checkpoint %d has no seals", s.api.base, number)
		}
		seals = *c.Seals
		return nil
	})
	return seals, err
}

// Export returns the page of the chain's record after a height, from the first
// source that has it; an empty one if there is nothing after it yet. What it says
// is for the caller to check: see package audit.
func (n *Network) Export(ctx context.Context, after uint64) (e query.Export, err error) {
	err = n.first(func(s *origin) error {
		b, err := s.api.get(ctx, fmt.Sprintf("/v1/export?after=%d", after), chain.MaxExportPage)
		if err != nil {
			return err
		}
		e = query.Export{}
		if err := wire.Decode(b, &e, chain.MaxExportPage); err != nil {
			return wire.Errorf(wire.Invalid, "%s: %w", s.api.base, err)
		}
		return nil
	})
	return e, err
}
