package agent

import (
	"context"
	"runtime"

	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/ticket"
	"github.com/confab-chat/confab/namesvc/wire"
)

// work finds the nonce that pays for a commit, on all cores.
func work(ctx context.Context, info lightclient.ChainInfo, commit [32]byte, report Report) ([]byte, error) {
	bits := namesvc.RequiredBits(info.Params, info.Meter, uint64(info.Proof.Time.Unix()))
	challenge := ticket.Challenge(info.Params.Chain, commit, info.Checkpoint.Digest)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		nonce uint64
		err   error
	}
	workers := runtime.GOMAXPROCS(0)
	results := make(chan result, workers)
	tried := make(chan struct{}, workers)
	for w := range workers {
		go func() {
			nonce, err := ticket.Solve(ctx, challenge, bits, info.Params.WorkKiB, uint64(w), uint64(workers), func() {
				select {
				case tried <- struct{}{}:
				case <-ctx.Done():
				}
			})
			results <- result{nonce, err}
		}()
	}
	p := Progress{Step: Working, Expected: 1 << bits, Height: info.Proof.Height}
	report(p)
	for {
		select {
		case <-tried:
			p.Tries++
			report(p)
		case r := <-results:
			if r.err != nil {
				return nil, wire.Errorf(wire.Unavailable, "the work was interrupted: %w", r.err)
			}
			report(p)
			return ticket.Nonce(r.nonce), nil
		}
	}
}
