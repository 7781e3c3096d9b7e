"""What trainings share that sample their own data, iteration by iteration: their folder, phases, answers and pairs."""
