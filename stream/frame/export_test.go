package frame

// EncodeAny and DecodeAny are Encode and Decode by package wire alone: what those
// by hand are held to.
func EncodeAny(f Frame) []byte { return encodeAny(f) }

func DecodeAny(b []byte) (Frame, error) {
	f, err := decodeAny(b)
	if err == nil {
		err = check(f)
	}
	return f, err
}

// Waiting returns how many bytes wait to be written to the server's connections.
func (s *Server) Waiting() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.sessions {
		c.out.mu.Lock()
		n += c.out.bytes
		c.out.mu.Unlock()
	}
	return n
}

// Held returns how many bytes of pages a client holds that nobody has taken.
func (c *Client) Held() int64 { return c.held.Load() }

// Unwritten returns how many bytes wait to be written.
func (c *Client) Unwritten() int {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	return c.out.bytes
}
