package chat

import (
	"context"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/message"
)

// leaveFormer asks concierges that were left to pass on what still comes.
func (a *Agent) leaveFormer(context.Context) {}

func (a *Agent) fileBody(ctx context.Context, path, text string) (message.Body, error) {
	return nil, wire.Errorf(wire.Unavailable, "not yet")
}
