package concierge

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"net/http"

	"github.com/confab-chat/confab/namesvc/wire"
)

// maxTicketAnswer is the most bytes of an answer.
const maxTicketAnswer = 1024

// Ticket asks the concierge to sign a challenge that was blinded for its key for
// tickets, of this modulus, as the chain proves it. code is nil if there is no
// invitation. The same request with the same code may be repeated for a day.
// Whether what comes back is a signature, who blinded must check.
//
// Errors: Unauthorized if the code is unknown or one is asked for, Exists if it
// was used for another ticket, Exhausted if no more are given today, NotFound
// if the concierge sponsors nobody, Conflict if it has another key.
func (c *Client) Ticket(ctx context.Context, modulus, blinded []byte, code *Invitation) ([]byte, error) {
	r := TicketRequest{Key: sha256.Sum256(modulus), Blinded: blinded}
	if code != nil {
		r.invite(c.service.Chain, c.service.Account, *code)
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, c.way.base+"/v1/ticket", bytes.NewReader(wire.Encode(r)))
	if err != nil {
		return nil, wire.Errorf(wire.Invalid, "ask for a ticket: %w", err)
	}
	q.Header.Set("Content-Type", "application/cbor")
	res, err := c.HTTP().Do(q)
	if err != nil {
		return nil, wire.Errorf(wire.Unavailable, "ask for a ticket: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, failed(res)
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, maxTicketAnswer+1))
	if err != nil {
		return nil, wire.Errorf(wire.Unavailable, "ask for a ticket: %w", err)
	}
	var t Ticket
	if err := wire.Decode(b, &t, maxTicketAnswer); err != nil {
		return nil, wire.Errorf(wire.Unavailable, "ask for a ticket: the answer is none: %w", err)
	}
	return t.Signed, nil
}
