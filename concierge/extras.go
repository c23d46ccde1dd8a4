package concierge

import (
	"context"
	"net/http"

	"github.com/confab-chat/confab/concierge/blob"
	"github.com/confab-chat/confab/namesvc/key"
)

// extras are what a concierge has beside queues: files, tunnels and a gateway to
// the chain. Those that are off are nil.
type extras struct {
	media     *blob.Store
	tickets   ticketer
	reads     *buckets // of each network: files
	incoming  *buckets // of each network: bytes of files, a second
	outgoing  *buckets
	gateway   *gateway
	questions *buckets // of each network: what the gateway is asked
	sponsor   *sponsor
	local     bool
	tunnels   struct { // guarded by Server.mu
		all int
		of  map[key.Public]int
	}
}

func newExtras(o Options) (x extras, err error) {
	x.media, x.local = o.Media, o.Local
	x.reads, x.questions = newBuckets(readRate, readBurst), newBuckets(gatewayRate, gatewayBurst)
	rate := float64(o.Limits.MediaRate) // filled in by New
	x.incoming, x.outgoing = newBuckets(rate, mediaBurst*rate), newBuckets(rate, mediaBurst*rate)
	x.tunnels.of = map[key.Public]int{}
	if len(o.Sources) > 0 {
		x.gateway = newGateway(o.Sources, o.Now)
	}
	if x.sponsor, err = newSponsor(o.Sponsor); err != nil {
		return x, err
	}
	x.tickets, err = newTicketer(o.Key)
	return x, err
}

// describeExtras tells clients what there is of them.
func (s *Server) describeExtras(d *Descriptor) {
	if s.media != nil {
		d.MediaBlob, d.MediaBytes, d.MediaTTL = s.limits.MediaBlob, s.limits.MediaBytes, uint64(s.limits.MediaTTL.Seconds())
		d.MaxPins, d.VaultMedia = MaxPins, s.limits.VaultMediaBytes
	}
	d.VaultBytes, d.Tunnels, d.Gateway = s.limits.VaultBytes, uint64(max(s.limits.Tunnels, 0)), s.gateway != nil
	d.Sponsors = s.sponsor.how()
}

// mountExtras serves them.
func (s *Server) mountExtras(mux *http.ServeMux) {
	mux.HandleFunc("PUT /v1/media/{id}", s.upload)
	mux.HandleFunc("GET /v1/media/{id}", func(w http.ResponseWriter, r *http.Request) { s.download(w, r, (*blob.Blob).Content) })
	mux.HandleFunc("GET /v1/media/{id}/leaves", func(w http.ResponseWriter, r *http.Request) { s.download(w, r, (*blob.Blob).Leaves) })
	mux.HandleFunc("GET /v1/tunnel", s.tunnel)
	s.mountSponsor(mux)
	if s.gateway != nil {
		s.mountGateway(mux)
	}
}

// doExtras does what a device asks of them for its own account. The owner is held.
func (s *Server) doExtras(ctx context.Context, c *session, r request) (any, error) {
	if r.Op >= opVault && r.Op <= opVaultTrim {
		return s.doVault(ctx, c, r)
	}
	return s.doMedia(ctx, c, r)
}
