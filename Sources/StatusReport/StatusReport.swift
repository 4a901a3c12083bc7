// StatusReport
