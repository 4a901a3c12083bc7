// Playbook tests
