package sim

import "github.com/shiplift/shiplift/internal/lab/sshd"

// Serve lets an ssh server stand before a machine. The world's clock should
// follow real time ([World.FollowRealTime]).
func Serve(m *Machine) sshd.Machine { return sshd.Hosted(m) }
