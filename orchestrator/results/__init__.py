"""What members' results come to: a job's network, its scores, the ranking.

truth         what is known of the validation images
finish        a job's members combined and measured
networks      the network that a job ended with
scoring       the hidden test set
scorebook     the organizer's scores
leaderboard   who won
titles        who won what else
classify      pictures shown to a trained network
"""
